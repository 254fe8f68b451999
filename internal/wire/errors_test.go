package wire

import "testing"

func TestErrorCodesNameThemselves(t *testing.T) {
	for code, want := range map[ErrorCode]string{
		NoError:                 "NO_ERROR",
		FrameEncodingError:      "FRAME_ENCODING_ERROR",
		ProtocolViolation:       "PROTOCOL_VIOLATION",
		NoViablePath:            "NO_VIABLE_PATH",
		VersionNegotiationError: "VERSION_NEGOTIATION_ERROR",
		0x12:                    "ERROR(0x12)",
		CryptoAlert(0):          "CRYPTO_ERROR(0x100)",
		CryptoAlert(0x78):       "CRYPTO_ERROR(0x178)",
		0x200:                   "ERROR(0x200)",
		0x6700:                  "ERROR(0x6700)",
		ChannelMismatch:         "CHANNEL_MISMATCH",
		MessageTooLarge:         "MESSAGE_TOO_LARGE",
		ReassemblyError:         "REASSEMBLY_ERROR",
		PlainModeMismatch:       "PLAIN_MODE_MISMATCH",
		MessageLimit:            "MESSAGE_LIMIT",
		ServerBusy:              "SERVER_BUSY",
		Shutdown:                "SHUTDOWN",
		Policy:                  "POLICY",
		Policy + 1:              "ERROR(0x6709)",
		1<<64 - 1:               "ERROR(0xffffffffffffffff)",
	} {
		if got := code.String(); got != want {
			t.Errorf("%#x: %s, want %s", uint64(code), got, want)
		}
	}
}

func TestOnlyCryptoErrorsCarryAnAlert(t *testing.T) {
	if alert, ok := CryptoAlert(42).Alert(); alert != 42 || !ok {
		t.Errorf("alert %d, %v", alert, ok)
	}
	for _, c := range []ErrorCode{NoError, 0xff, 0x200, ChannelMismatch} {
		if _, ok := c.Alert(); ok {
			t.Errorf("%s carries an alert", c)
		}
	}
}
