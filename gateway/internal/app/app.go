// Package app holds the applications that godwit serve can run without any code of the user's.
package app

import (
	"net"
	"slices"

	"godwit.example/godwit"
)

// App is an application for the connections of one endpoint.
type App struct {
	Handler godwit.Handler
	Streams func(l net.Listener) // serves the streams of the endpoint until the listener is closed; nil if there is no use for any
	Stats   func() any           // figures for /varz; nil if there are none
}

// closeCode is the application's code of every connection that an application here ends.
const closeCode = 1

var apps = map[string]func() App{"echo": newEcho, "relay": newRelay}

// Names lists the applications that New knows.
func Names() []string {
	var names []string
	for name := range apps {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// New returns a new application called name; ok is false if there is none of that name.
func New(name string) (a App, ok bool) {
	start := apps[name]
	if start == nil {
		return App{}, false
	}
	return start(), true
}
