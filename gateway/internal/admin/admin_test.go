package admin

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPages(t *testing.T) {
	s, err := Start("127.0.0.1:0", func() any { return map[string]any{"process": ReadProcess()} })
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]string{"/": "/varz", "/healthz": "ok", "/varz": `"goroutines"`, "/debug/pprof/": "goroutine"} {
		resp, err := client.Get("http://" + s.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("GET %s: %s, %v, no %s in\n%s", path, resp.Status, err, want, body)
		}
		if path == "/varz" && !json.Valid(body) {
			t.Errorf("/varz is no JSON:\n%s", body)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestRefusesOtherAddressesAndNames(t *testing.T) {
	for _, addr := range []string{":4280", "0.0.0.0:0", "192.0.2.1:80", "[::]:80", "nonsense"} {
		if s, err := Start(addr, nil); err == nil {
			t.Errorf("serves on %s", addr)
			s.Close()
		} else if !strings.Contains(err.Error(), "--admin") && !strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%s: the error does not say what to do: %v", addr, err)
		}
	}
	h := localOnly(pages(func() any { return nil }))
	for host, want := range map[string]int{"localhost:4280": 200, "127.0.0.1": 200, "[::1]:4280": 200, "[::1]": 200, "rebind.example:4280": 403, "": 403} {
		req := httptest.NewRequest("GET", "/healthz", nil)
		req.Host = host
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		if rec.Code != want {
			t.Errorf("host %q gets %d, want %d", host, rec.Code, want)
		}
	}
}

func TestProcessFiguresAreReadOrNull(t *testing.T) {
	status := "Name:\tx\nVmRSS:\t    1234 kB\nRssAnon:\t junk\n"
	if n := statusBytes(status, "VmRSS:"); n == nil || *n != 1234<<10 {
		t.Errorf("VmRSS %v", n)
	}
	if n := statusBytes(status, "RssAnon:"); n != nil {
		t.Errorf("junk gives %d", *n)
	}
	if n := statusBytes(status, "VmSwap:"); n != nil {
		t.Errorf("a missing line gives %d", *n)
	}
	if p := ReadProcess(); p.PID == 0 || p.Goroutines == 0 || p.HeapBytes == 0 {
		t.Errorf("%+v", p)
	}
}
