package api_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The commands of docs/accounts.md ask for what there is.
func TestAccountsDocument(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	text, err := os.ReadFile("../docs/accounts.md")
	b.must(err)
	paths := b.do("", "GET", "/openapi.json", "").json["paths"].(map[string]any)
	var asked int
	for _, command := range regexp.MustCompile(`(?m)^curl (?:.*\\\n)*.*$`).FindAllString(strings.ReplaceAll(string(text), "$(csrf)", ""), -1) {
		method := "get"
		if m := regexp.MustCompile(`-X ([A-Z]+)`).FindStringSubmatch(command); m != nil {
			method = strings.ToLower(m[1])
		} else if strings.Contains(command, " -d ") {
			method = "post"
		}
		path := regexp.MustCompile(`\$API(\S+)`).FindStringSubmatch(command)[1]
		item, _ := paths[strings.Replace(path, "$SESSION", "{id}", 1)].(map[string]any)
		if item[method] == nil {
			t.Errorf("there is no %s %s", method, path)
		}
		asked++
	}
	if asked < 14 {
		t.Errorf("only %d commands were found", asked)
	}
	// The first command works as it stands.
	body := regexp.MustCompile(`(?s)/v1/auth/register .*?-d '([^']*)'`).FindSubmatch(text)[1]
	if a := b.do("", "POST", "/v1/auth/register", string(body)); a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}
}
