// Package tools is the home of the programs and scripts that look after the repository; the package itself holds only their tests.
package tools
