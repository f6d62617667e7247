package adminapi

import "encoding/binary"

// littleEndian tells the order of this machine's bytes.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1
