package command

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/term"
)

// When a progress bar appears, and how often it is drawn.
const (
	barDelay = time.Second
	barEvery = 100 * time.Millisecond
)

// bar shows on a terminal how far a command has come, once it has taken longer
// than barDelay. A nil bar shows nothing. Its methods may be called from
// several goroutines.
type bar struct {
	out   io.Writer
	width func() int
	now   func() time.Time

	mu      sync.Mutex
	label   string
	begun   time.Time
	drawn   time.Time
	visible bool
}

// newBar returns a bar on w, or nil where w is no terminal.
func newBar(w io.Writer) *bar {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return &bar{out: w, now: time.Now, width: func() int {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			return n
		}
		return 80
	}}
}

// start begins anew, for the thing that label names.
func (b *bar) start(label string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clear()
	b.label, b.begun, b.drawn = label, b.now(), time.Time{}
}

// bytes shows that done of total bytes are through; total is below 1 where it
// is not known.
func (b *bar) bytes(done, total int64) {
	b.draw(func(elapsed time.Duration) (float64, string) {
		rate := float64(done) / max(elapsed.Seconds(), 0.001)
		if total < 1 {
			return -1, fmt.Sprintf("%s, %s/s", humanSize(done), humanSize(int64(rate)))
		}
		text := fmt.Sprintf("%s of %s, %s/s", humanSize(done), humanSize(total), humanSize(int64(rate)))
		if done > 0 && done < total {
			left := time.Duration(float64(total-done) / rate * float64(time.Second))
			text += ", " + max(left, time.Second).Round(time.Second).String() + " left"
		}
		return float64(done) / float64(total), text
	})
}

// steps shows how far something has come whose parts are of unknown size;
// done is below 0 where even that is not known.
func (b *bar) steps(done float64, text string) {
	b.draw(func(time.Duration) (float64, string) { return done, text })
}

func (b *bar) draw(render func(elapsed time.Duration) (float64, string)) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if now.Sub(b.begun) < barDelay || now.Sub(b.drawn) < barEvery {
		return
	}
	b.drawn, b.visible = now, true
	part, text := render(now.Sub(b.begun))
	_, _ = io.WriteString(b.out, "\r\x1b[K"+barLine(b.label, part, text, b.width()-1))
}

// wipe takes the bar from the terminal, to print something where it was; it
// comes back with the next drawing.
func (b *bar) wipe() { b.finish() }

// finish takes the bar from the terminal.
func (b *bar) finish() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clear()
}

func (b *bar) clear() {
	if b.visible {
		_, _ = io.WriteString(b.out, "\r\x1b[K")
		b.visible = false
	}
}

// barLine composes a line of at most width columns: the label, a bar where the
// part that is done (0 to 1) is known, and the text.
func barLine(label string, part float64, text string, width int) string {
	const maxLabel, maxCells, minCells = 24, 30, 6
	line := clip(label, maxLabel)
	if part >= 0 {
		part = min(part, 1)
		line += fmt.Sprintf(" %3d%%", int(part*100))
		if cells := min(maxCells, width-len([]rune(line))-len(text)-5); cells >= minCells {
			full := int(part * float64(cells))
			line += " [" + strings.Repeat("#", full) + strings.Repeat("-", cells-full) + "]"
		}
	}
	return clip(line+"  "+text, width)
}

// clip shortens s to width runes and takes control characters out of it: a
// file's name must not move the cursor.
func clip(s string, width int) string {
	runes := []rune(strings.Map(printable, s))
	if len(runes) > max(width, 1) {
		runes = append(runes[:max(width, 1)-1], '…')
	}
	return string(runes)
}

// printable replaces what a terminal would act on.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '?'
}
