// Package godwittest runs real godwit endpoints on a simulated network in virtual time, so that a test of an application can lose, delay and
// reorder datagrams, cut a link for half a minute and move a client to another address, in milliseconds and the same way every time.
//
//	godwittest.Run(t, 1, godwittest.Link{Delay: 20 * time.Millisecond, Loss: 0.05}, func(t testing.TB, n *godwittest.Net) {
//		server := n.Listen(&godwit.Config{Handler: myServer})
//		c := n.Dial(server, &godwit.Config{Handler: myClient})
//		c.Send(0, []byte("hello"))
//		n.Sleep(time.Second)
//	})
//
// See ExampleRun, and TestGameOnABadNetwork beside it for a whole game.
//
// Everything runs on the goroutine of the test: handlers are called while the test sleeps or waits, and the blocking methods of
// Conn and Endpoint let virtual time pass instead of waiting. They must not be called from other goroutines. The same seed gives the
// same run, to the byte. Timeouts of contexts and timers of package time run by the real clock and hardly ever end within a run: Sleep and
// Until say how long to wait.
//
// Bubble is for tests of what waits in goroutines of its own, an http.Server for example: it runs them in a bubble of testing/synctest, where the time
// of package time is virtual too.
//
// Handshakes are imitations of TLS 1.3 with flights of the same sizes and no secrecy, because they must be the same in each run; Options.TLS
// runs the real thing, whose keys are drawn anew each time.
package godwittest
