// A far server: what goes to TO's ports comes half a round trip later, and so does what comes back.
//
//	far TO ROUND_TRIP PORT[-PORT]…
//
// A TCP proxy: making the connection itself costs no round trip, as it would on a wire.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"time"
)

// What is under way in one direction of a connection, at most: 64 times 64 KiB.
const (
	underWay  = 64
	chunkSize = 64 << 10
)

type chunk struct {
	due  time.Time
	data []byte
}

func main() {
	if len(os.Args) < 4 {
		log.Fatal("far TO ROUND_TRIP PORT[-PORT]…")
	}
	roundTrip, err := time.ParseDuration(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	for _, ports := range os.Args[3:] {
		var first, last int
		if n, _ := fmt.Sscanf(ports, "%d-%d", &first, &last); n == 1 {
			last = first
		}
		for port := first; port <= last; port++ {
			listener, err := net.Listen("tcp", fmt.Sprint(":", port))
			if err != nil {
				log.Fatal(err)
			}
			go accept(listener, fmt.Sprintf("%s:%d", os.Args[1], port), roundTrip/2)
		}
	}
	select {}
}

func accept(listener net.Listener, to string, delay time.Duration) {
	for {
		near, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			far, err := net.DialTimeout("tcp", to, 10*time.Second)
			if err != nil {
				log.Print(err)
				near.Close()
				return
			}
			back := make(chan struct{})
			go func() {
				carry(far.(*net.TCPConn), near.(*net.TCPConn), delay)
				close(back)
			}()
			carry(near.(*net.TCPConn), far.(*net.TCPConn), delay)
			<-back
			near.Close()
			far.Close()
		}()
	}
}

// Every chunk, and the end, a delay after it came; never slower than they come.
func carry(from, to *net.TCPConn, delay time.Duration) {
	chunks := make(chan chunk, underWay)
	go func() {
		defer close(chunks)
		for {
			data := make([]byte, chunkSize)
			n, err := from.Read(data)
			if n > 0 {
				chunks <- chunk{time.Now().Add(delay), data[:n]}
			}
			if err != nil {
				chunks <- chunk{time.Now().Add(delay), nil}
				return
			}
		}
	}()
	for next := range chunks {
		time.Sleep(time.Until(next.due))
		if len(next.data) == 0 {
			to.CloseWrite()
		} else if _, err := to.Write(next.data); err != nil {
			from.Close()
			for range chunks {
			}
			return
		}
	}
}
