package inventory

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
)

// shattered is how the two documents of the SHAttered attack begin
// (shattered.io, 2017): the first 320 bytes carry the colliding blocks.
const shattered = "JVBERi0xLjMKJeLjz9MKCgoxIDAgb2JqCjw8L1dpZHRoIDIgMCBSL0hlaWdodCAzIDAgUi9UeXBlIDQgMCBSL1N1YnR5cGUgNSAwIFIvRmlsdGVyIDYgMCBSL0NvbG9yU3BhY2UgNyAwIFIvTGVuZ3RoIDggMCBSL0JpdHNQZXJDb21wb25lbnQgOD4+CnN0cmVhbQr/2P/+ACRTSEEtMSBpcyBkZWFkISEhISGFL+wJIzl1nDmxocY8TJfh//4Bc0bckWa2fhGPApq2IbJWD/nKZ8yox/hbqEx5AwwrPeIY+G2zqQkB1d9FwU8m/t+z3DjpasIv571yjw5FvOBG0jxXD+sUE5i7VS71oKgr4zH+pIA3uLXXHw4zLt+TrDUA603cDezBqGR5DHgsdiFWYN0wl5HQa9CvP5jNpLxGKbE="

func shatteredData(t testing.TB) []byte {
	b, err := base64.StdEncoding.DecodeString(shattered)
	require.NoError(t, err)
	return b
}

// The digests of "abc" as RFC 1321 and FIPS 180 give them.
func TestNewHash(t *testing.T) {
	for typ, want := range map[content.Type]string{
		content.MD5:    "900150983cd24fb0d6963f7d28e17f72",
		content.SHA1:   "a9993e364706816aba3e25717850c26c9cd0d89d",
		content.SHA224: "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
		content.SHA256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		content.SHA384: "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
		content.SHA512: "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
	} {
		require.Equal(t, want, hashOf(t, typ, []byte("abc")).String(), typ.String())
	}
	require.Panics(t, func() { NewHash(0) })
}

func TestSumOfRefusesCollisionAttacks(t *testing.T) {
	d := NewHash(content.SHA1)
	d.Write(shatteredData(t))
	_, err := SumOf(content.SHA1, d)
	require.ErrorIs(t, err, ErrCollision)
	_, err = SumOf(content.SHA256, NewHash(content.SHA1))
	require.ErrorIs(t, err, content.ErrInvalidHash)
	require.NotPanics(t, func() { hashOf(t, content.SHA256, shatteredData(t)) })
}

func BenchmarkHash(b *testing.B) {
	data := make([]byte, 1<<20)
	for _, typ := range content.Types() {
		b.Run(typ.String(), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			d := NewHash(typ)
			for b.Loop() {
				d.Write(data)
			}
		})
	}
}
