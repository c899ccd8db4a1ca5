package streams_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/streams"
)

func always() bool { return true }

// frame is a message of a server [RFC 6455 5.2].
func frame(size int) []byte {
	header := []byte{0x82}
	switch {
	case size < 126:
		header = append(header, byte(size))
	case size < 1<<16:
		header = binary.BigEndian.AppendUint16(append(header, 126), uint16(size)) //nolint:gosec // as checked
	default:
		header = binary.BigEndian.AppendUint64(append(header, 127), uint64(size))
	}
	return append(header, make([]byte, size)...)
}

// received is what a client gets until the connection ends.
func received(conn net.Conn) <-chan []byte {
	got := make(chan []byte, 1)
	go func() {
		all, _ := io.ReadAll(conn)
		got <- all
	}()
	return got
}

func TestCloseFrameComesBetweenFrames(t *testing.T) {
	goingAway := []byte{0x88, 2, 0x03, 0xe9}
	message := slicesOf(frame(0), frame(125), frame(126), frame(70_000))
	for name, test := range map[string]struct{ written, want []byte }{
		"nothing yet":             {nil, goingAway},
		"whole frames":            {message, append(bytes.Clone(message), goingAway...)},
		"half a payload":          {message[:len(message)-1], message[:len(message)-1]},
		"half a header":           {frame(70_000)[:5], frame(70_000)[:5]},
		"the application's close": {[]byte{0x88, 2, 0x03, 0xe8}, []byte{0x88, 2, 0x03, 0xe8}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var set streams.Set
			client, server := net.Pipe()
			conn := set.WebSocket(server, time.Minute, always)
			got := received(client)
			for rest := test.written; len(rest) > 0; { // in pieces that end anywhere
				n := min(len(rest), 1000)
				_, err := conn.Write(rest[:n])
				require.NoError(t, err)
				rest = rest[n:]
			}
			set.End()
			assert.Equal(t, test.want, <-got)
			_ = conn.Close()
			require.NoError(t, set.Wait(t.Context()))
		})
	}
}

func slicesOf(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestNothingFollowsTheCloseFrame(t *testing.T) {
	var set streams.Set
	client, server := net.Pipe()
	conn := set.WebSocket(server, 0, always)
	set.End()
	told := make([]byte, 4)
	_, err := io.ReadFull(client, told)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		n, err := conn.Write(frame(5)) // nobody reads: it is thrown away
		return n == 7 && err == nil
	}, 10*time.Second, time.Millisecond)
	assert.Empty(t, <-received(client), "the client that does not answer is cut off")
}

func TestStreamThatBeginsLateEndsAtOnce(t *testing.T) {
	var set streams.Set
	set.End()
	r, _ := io.Pipe()
	events := set.Events(r, always)
	got, err := io.ReadAll(events)
	require.NoError(t, err, "as a regular end")
	assert.Empty(t, got)
	require.NoError(t, events.Close())
	require.NoError(t, set.Wait(t.Context()))
}

// Errors of the application are none of the set's.
func TestEventsThatBreakOff(t *testing.T) {
	var set streams.Set
	r, w := io.Pipe()
	events := set.Events(r, always)
	go func() { _ = w.CloseWithError(io.ErrUnexpectedEOF) }()
	_, err := io.ReadAll(events)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestWaitEndsWithItsContext(t *testing.T) {
	var set streams.Set
	events := set.Events(io.NopCloser(strings.NewReader("")), always)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, set.Wait(ctx), context.Canceled)
	var waiting sync.WaitGroup
	for range 3 {
		waiting.Go(func() { assert.NoError(t, set.Wait(t.Context())) })
	}
	_ = events.Close()
	waiting.Wait()
}
