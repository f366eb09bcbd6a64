package simulator
import ("testing";"os";"net/http/httptest";"time")
func TestZZServe(t *testing.T){ if os.Getenv("ZZ")=="" {return}; ts:=httptest.NewServer(New(Options{})); os.WriteFile("/tmp/simrun/url",[]byte(ts.URL),0o644); time.Sleep(40*time.Second)}
