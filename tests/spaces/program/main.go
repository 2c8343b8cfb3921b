// An ordinary program in Go for WASI: nothing in it knows of zhost.
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	fmt.Println("I am", os.Args[0])
	fmt.Println("I am told", os.Getenv("greeting"))
	start := time.Now()
	waited := make(chan time.Duration)
	go func() {
		time.Sleep(50 * time.Millisecond)
		waited <- time.Since(start)
	}()
	fmt.Fprintln(os.Stderr, "it is 50 ms later:", <-waited >= 50*time.Millisecond)
	_, err := os.ReadFile("secret")
	fmt.Println("there are no files:", err != nil)
}
