package integration

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"time"
)

// clockEnv tells a node by how many seconds its clock is off.
const clockEnv = "OOSE_TEST_CLOCK"

// prepareClock sets this process's clock, and no other's, off by what clockEnv
// says. Programs read the time by a function that the kernel maps into each of
// them; it is replaced here by one that asks the kernel and adds the difference.
// So all of the program, Caddy and Go's libraries too, sees one clock that is
// off, as on a machine that was set wrongly. Timers, which go by the monotonic
// clock, go on as they were.
func prepareClock() error {
	text := os.Getenv(clockEnv)
	if text == "" {
		return nil
	}
	off, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	m := regexp.MustCompile(`(?m)^([0-9a-f]+)-([0-9a-f]+) .* \[vdso\]$`).FindSubmatch(maps)
	if m == nil {
		return errors.New("the kernel maps no functions into this process")
	}
	start, err := strconv.ParseInt(string(m[1]), 16, 64)
	if err != nil {
		return err
	}
	end, err := strconv.ParseInt(string(m[2]), 16, 64)
	if err != nil {
		return err
	}
	memory, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0) // writes what is mapped for reading, too
	if err != nil {
		return err
	}
	defer memory.Close()
	image, err := elf.NewFile(io.NewSectionReader(memory, start, end-start))
	if err != nil {
		return err
	}
	symbols, err := image.DynamicSymbols()
	if err != nil {
		return err
	}
	at := map[string]elf.Symbol{}
	for _, s := range symbols {
		at[s.Name] = s
	}
	const replaced, unused = "__vdso_clock_gettime", "__vdso_clock_getres"
	code := []byte{
		0xb8, 228, 0, 0, 0, // mov eax, SYS_clock_gettime
		0x0f, 0x05, // syscall
		0x85, 0xff, // test edi, edi: the clock, 0 is CLOCK_REALTIME
		0x75, 7, // jnz to the return
		0x48, 0x81, 0x06, // add qword [rsi], the difference: the seconds
	}
	code = append(binary.LittleEndian.AppendUint32(code, uint32(off)), 0xc3) // ret
	if at[replaced].Value == 0 || at[unused].Size < uint64(len(code)) {
		return fmt.Errorf("there is no room to replace %s", replaced)
	}
	if _, err := memory.WriteAt(code, start+int64(at[unused].Value)); err != nil {
		return err
	}
	const length = 5 // of a jump
	jump := []byte{0xe9}
	jump = binary.LittleEndian.AppendUint32(jump, uint32(at[unused].Value-at[replaced].Value-length))
	before := time.Now()
	if _, err := memory.WriteAt(jump, start+int64(at[replaced].Value)); err != nil {
		return err
	}
	if moved := time.Now().Unix() - before.Unix(); moved < off-1 || moved > off+1 {
		return fmt.Errorf("the clock moved by %d s", moved)
	}
	return nil
}
