package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

const table = `File: godwit
Type: cpu
Duration: 8.02s, Total samples = 2s (25.00%)
Showing nodes accounting for 2s, 100% of 2s total
      flat  flat%   sum%        cum   cum%
    500000us 25.00% 25.00%    500000us 25.00%  godwit.example/godwit/internal/udp.(*Engine).Read
     20000us  1.00% 26.00%   1600000us 80.00%  godwit.example/godwit/internal/shard.(*Shard).receive
    200000us 10.00% 36.00%    200000us 10.00%  crypto/internal/fips140/aes/gcm.gcmAesDec
    600000us 30.00% 66.00%    600000us 30.00%  godwit.example/godwit/internal/protect.(*Scratch).Open (inline)
         0us     0% 66.00%    100000us  5.00%  godwit.example/godwit.Conn.SendMessage
`

func TestAProfileIsDividedIntoStages(t *testing.T) {
	p, err := parseProfile([]byte(table))
	if err != nil || p.total != 2*time.Second {
		t.Fatalf("%v, %v", p, err)
	}
	for name, want := range map[string]float64{
		"receive: system call": 0.25, "route, account, batch": 0.25, "open": 0.3, "send into the mailbox": 0.05, "wait: system call": 0,
	} {
		for i := range stages {
			if s := &stages[i]; s.name == name {
				if got := p.of(s); got < want-1e-9 || got > want+1e-9 {
					t.Errorf("%s is %.3f, not %.3f", name, got, want)
				}
			}
		}
	}
	var out bytes.Buffer
	report(&out, &workloads[2], &result{MessagesPerSecond: 1e6, ServerPerMessage: 0.3}, map[string]any{"messages_received": 2000.0, "trains": 50.0}, p)
	for _, want := range []string{"W3: 1000000 messages/s", "75.0   25.0", "trains 25;"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestAProfileWithoutSamplesIsAnError(t *testing.T) {
	if _, err := parseProfile([]byte("File: godwit\nDuration: 8s, Total samples = 0 \n")); err == nil {
		t.Error("nothing was accepted")
	}
}
