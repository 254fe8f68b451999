package godwit

import "os"

// The tests of endpoints run over the engine that GODWIT_ENGINE names. It is read here, because the processes that some tests start do
// not come as far as TestMain.
func init() {
	if name := os.Getenv("GODWIT_ENGINE"); name != "" {
		bestEngine = name
	}
}

// SetBestEngine makes an engine the default until restore is called. Endpoints that are open keep theirs.
func SetBestEngine(name string) (restore func()) {
	before := bestEngine
	bestEngine = name
	return func() { bestEngine = before }
}

// BestEngine returns the engine that is the default now.
func BestEngine() string { return bestEngine }
