package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/nanobanana/nanobanana/api/client"
)

// service stands for a running NanoBanana in the examples.
func service() *httptest.Server {
	const size, sum = 16, "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f"
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/generations", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"id":"gen_1","status":"queued","queue_position":1}`)
	})
	mux.HandleFunc("GET /v1/generations/gen_1", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"id":"gen_1","status":"succeeded","images":[{"id":"img_1","url":"/v1/images/img_1/content?sig=s",
			"filetype":"png","width":1024,"height":1024,"bytes":%d,"sha256":%q}]}`, size, sum)
	})
	mux.HandleFunc("GET /v1/images/img_1/content", serve)
	return httptest.NewServer(mux)
}

func Example() {
	srv := service() // your NanoBanana
	defer srv.Close()
	dir, err := os.MkdirTemp("", "images")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	c, err := client.New(client.Options{URL: srv.URL, APIKey: "nb_test_..."})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	g, err := c.Generate(ctx, &client.GenerateRequest{Prompt: "a banana astronaut", Format: "png"})
	var failed *client.GenerationError
	var refused *client.Error
	switch {
	case errors.As(err, &failed):
		fmt.Println("no image:", failed.Code, failed.Message)
	case errors.As(err, &refused):
		fmt.Println("not accepted:", refused)
	case err != nil:
		fmt.Println("no answer:", err)
	default:
		img := &g.Images[0]
		if err := c.DownloadFile(ctx, img, filepath.Join(dir, "banana.png")); err != nil {
			panic(err)
		}
		fmt.Printf("%s is %dx%d %s\n", img.ID, img.Width, img.Height, img.FileType)
	}
	// Output: img_1 is 1024x1024 png
}

func ExampleClient_Wait() {
	srv := service()
	defer srv.Close()
	c, err := client.New(client.Options{URL: srv.URL, APIKey: "nb_test_..."})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	g, err := c.Submit(ctx, &client.GenerateRequest{Prompt: "a banana astronaut"})
	if err != nil {
		panic(err)
	}
	fmt.Println(g.Status, g.QueuePosition)
	_, err = c.Wait(ctx, g.ID, func(g *client.Generation) { fmt.Println(g.Status) })
	if err != nil {
		panic(err)
	}
	// Output:
	// queued 1
	// succeeded
}
