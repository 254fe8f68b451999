package wire

import (
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"
)

// specRows returns the cells of the rows of the table in docs/SPEC.md whose head begins with that cell.
func specRows(t *testing.T, head string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n| "+head+" |")
	table, _, _ = strings.Cut(table, "\n\n")
	for line := range strings.SplitSeq(table, "\n") {
		if !strings.HasPrefix(line, "| 0x") {
			continue
		}
		row := strings.Split(strings.Trim(line, "|"), "|")
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		t.Fatalf("SPEC has no table that begins with %s", head)
	}
	return rows
}

// numbers reads "0x08-0x0f" or "0x30, 0x31" or "0x02".
func numbers(t *testing.T, cell string) (list []uint64) {
	t.Helper()
	one := func(s string) uint64 {
		v, err := strconv.ParseUint(s, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if from, to, ok := strings.Cut(cell, "-"); ok {
		for v := one(from); v <= one(to); v++ {
			list = append(list, v)
		}
		return list
	}
	for s := range strings.SplitSeq(cell, ", ") {
		list = append(list, one(s))
	}
	return list
}

func TestSpecAndCodecAgreeOnFrames(t *testing.T) {
	named := 0
	for _, row := range specRows(t, "type") {
		for _, typ := range numbers(t, row[0]) {
			p := FrameInfo(byte(typ))
			named++
			packets := ""
			for l, letter := range "IH1" {
				if p.Levels>>l&1 != 0 {
					packets += " " + string(letter)
				}
			}
			if p.ServerOnly {
				packets += ", server only"
			}
			yes := map[bool]string{true: "yes", false: "no"}
			if strings.TrimSuffix(p.Name, " keyed") != row[1] || strings.TrimSpace(packets) != row[2] ||
				yes[p.AckEliciting] != row[3] || yes[p.Probing] != row[4] {
				t.Errorf("%#x: SPEC says %v, the codec %+v", typ, row[1:5], p)
			}
		}
	}
	for typ := range 256 {
		if IsKnownFrame(byte(typ)) {
			named--
		}
	}
	if named != 0 {
		t.Errorf("SPEC names %d types more than the codec knows", named)
	}
}

func TestSpecAndCodecAgreeOnErrorCodes(t *testing.T) {
	seen := 0
	for _, row := range specRows(t, "code") {
		if row[1] == "CRYPTO_ERROR" {
			continue
		}
		code := ErrorCode(numbers(t, row[0])[0])
		if code.String() != row[1] {
			t.Errorf("%#x: SPEC says %s, the codec %s", uint64(code), row[1], code)
		}
		seen++
	}
	if want := len(errorNames) + len(ownErrorNames); seen != want {
		t.Errorf("SPEC names %d codes, the codec %d", seen, want)
	}
}

func TestSpecAndCodecAgreeOnParameters(t *testing.T) {
	usual, absent := DefaultParams(), Params{}
	absent.setAbsent()
	values := map[uint64][2]uint64{
		paramMaxIdleTimeout:    {absent.MaxIdleTimeout, usual.MaxIdleTimeout},
		paramMaxUDPPayload:     {absent.MaxUDPPayload, usual.MaxUDPPayload},
		paramInitialMaxData:    {absent.InitialMaxData, usual.InitialMaxData},
		paramAckDelayExponent:  {absent.AckDelayExponent, usual.AckDelayExponent},
		paramMaxAckDelay:       {absent.MaxAckDelay, usual.MaxAckDelay},
		paramActiveConnIDLimit: {absent.ActiveConnIDLimit, usual.ActiveConnIDLimit},
		paramInitialMaxChannel: {absent.InitialMaxChannel, usual.InitialMaxChannel},
		paramMaxMessageSize:    {absent.MaxMessageSize, usual.MaxMessageSize},
		paramInitialMaxStreams: {absent.InitialMaxStreams, usual.InitialMaxStreams},
		paramMinAckDelay:       {0, usual.MinAckDelay},
	}
	for _, row := range specRows(t, "ID") {
		id := numbers(t, row[0])[0]
		want, isInt := values[id]
		if !isInt {
			continue
		}
		delete(values, id)
		for i, cell := range []string{row[4], row[5]} {
			digits := strings.ReplaceAll(cell, ",", "")
			if j := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); j >= 0 {
				digits = digits[:j]
			}
			if digits != "" && digits != strconv.FormatUint(want[i], 10) {
				t.Errorf("%s: SPEC says %s, the codec %d", row[1], cell, want[i])
			}
		}
	}
	for id := range values {
		t.Errorf("SPEC does not name parameter %#x", id)
	}
}

func TestSpecStatesTheConstants(t *testing.T) {
	text, err := os.ReadFile("../../docs/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"`0x" + strconv.FormatUint(uint64(Version), 16) + "`", "`" + ALPN + "`", ChecksumExporterLabel,
		hex.EncodeToString(InitialSalt[:]), hex.EncodeToString(RetryKey[:]), hex.EncodeToString(RetryNonce[:]),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("SPEC does not state %s", want)
		}
	}
}
