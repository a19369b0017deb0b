package main

// Sends descriptors from several threads on one socket, to a child that receives them in several.

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

const (
	senders  = 4
	messages = 25
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func unixConn(file *os.File) *net.UnixConn {
	conn, err := net.FileConn(file)
	check(err)
	file.Close()
	return conn.(*net.UnixConn)
}

func send(conn *net.UnixConn) {
	var wait sync.WaitGroup
	for i := 0; i < senders; i++ {
		file, err := os.Create(fmt.Sprintf("%s/file-%d", os.Getenv("D"), i))
		check(err)
		wait.Add(1)
		go func() {
			defer wait.Done()
			runtime.LockOSThread()
			for j := 0; j < messages; j++ {
				rights := syscall.UnixRights(int(file.Fd()))
				_, _, err := conn.WriteMsgUnix([]byte{1}, rights, nil)
				check(err)
			}
		}()
	}
	wait.Wait()
}

func receive(conn *net.UnixConn) {
	data, control := make([]byte, 1), make([]byte, 64)
	for i := 0; i < senders*messages; i++ {
		_, n, _, _, err := conn.ReadMsgUnix(data, control)
		check(err)
		parsed, err := syscall.ParseSocketControlMessage(control[:n])
		check(err)
		fds, err := syscall.ParseUnixRights(&parsed[0])
		check(err)
		for _, fd := range fds {
			check(syscall.Close(fd))
		}
	}
}

func main() {
	if len(os.Args) > 1 {
		receive(unixConn(os.NewFile(3, "socket")))
		return
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	check(err)
	child := exec.Command(os.Args[0], "receive")
	child.Stderr = os.Stderr
	child.ExtraFiles = []*os.File{os.NewFile(uintptr(pair[1]), "socket")}
	check(child.Start())
	send(unixConn(os.NewFile(uintptr(pair[0]), "socket")))
	check(child.Wait())
}
