//go:build !unix

package godwit_test

import "time"

// processCPU says that this system has no getrusage.
func processCPU() time.Duration { return 0 }
