package main

import (
	"fmt"
	"net"
	"net/http"
)

// listen opens a port of the loopback and prints the address for the load.
func listen() net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err == nil, "cannot listen")
	fmt.Println(listener.Addr())
	return listener
}

// serveEcho sends back the bytes that it receives, until it is killed.
func serveEcho() values {
	listener := listen()
	for {
		connection, err := listener.Accept()
		check(err == nil, "cannot accept")
		go func() {
			defer connection.Close()
			buffer := make([]byte, 2048)
			for {
				count, err := connection.Read(buffer)
				if err != nil {
					return
				}
				if _, err := connection.Write(buffer[:count]); err != nil {
					return
				}
			}
		}()
	}
}

var hello = []byte("Hello, world!")

// serveHTTP answers every request with "Hello, world!", until it is killed.
func serveHTTP() values {
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		answer.Header().Set("Content-Type", "text/plain")
		answer.Write(hello)
	})
	check(http.Serve(listen(), nil) == nil, "cannot serve")
	return nil
}
