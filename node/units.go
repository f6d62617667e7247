package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Duration is a length of time in settings. Its text is that of
// time.ParseDuration, and days before it: `90s`, `2h30m`, `180d`, `1d12h`.
// In JSON it may also be a number of nanoseconds.
type Duration time.Duration

// errDuration tells how a duration is written.
var errDuration = errors.New("not a duration, write it like 90s, 2h30m or 180d")

// day is what `d` stands for: always 24 hours.
const day = 24 * time.Hour

// ParseDuration reads a duration's text; one below zero is refused.
func ParseDuration(s string) (Duration, error) {
	days, rest, found := strings.Cut(s, "d")
	var total time.Duration
	if found {
		n, err := strconv.ParseUint(days, 10, 64)
		if err != nil || n > uint64(math.MaxInt64/day) {
			return 0, fmt.Errorf("%.40q is %w", s, errDuration)
		}
		total = time.Duration(n) * day
		if rest == "" {
			return Duration(total), nil
		}
	} else {
		rest = s
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || strings.HasPrefix(rest, "+") || strings.HasPrefix(rest, "-") || d > math.MaxInt64-total {
		return 0, fmt.Errorf("%.40q is %w", s, errDuration)
	}
	return Duration(total + d), nil
}

// Std returns the duration as the standard library has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns the shortest text that ParseDuration reads as d.
func (d Duration) String() string {
	var b strings.Builder
	rest := time.Duration(d)
	if n := rest / day; n > 0 {
		fmt.Fprintf(&b, "%dd", int64(n))
		rest %= day
	}
	if rest != 0 || b.Len() == 0 {
		s := rest.String()
		if strings.HasSuffix(s, "m0s") {
			s = s[:len(s)-len("0s")]
		}
		if strings.HasSuffix(s, "h0m") {
			s = s[:len(s)-len("0m")]
		}
		b.WriteString(s)
	}
	return b.String()
}

// MarshalJSON gives the text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the text, or a number of nanoseconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	if n, ok, err := wholeNumber(b); ok {
		if err != nil {
			return fmt.Errorf("%.40s is %w", b, errDuration)
		}
		*d = Duration(n)
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("%.40s is %w", b, errDuration)
	}
	v, err := ParseDuration(s)
	if err == nil {
		*d = v
	}
	return err
}

// Size is a number of bytes in settings, or of bytes per second. Its text has
// a unit: `5GB` is 5·10⁹, `5GiB` is 5·2³⁰. In JSON it may also be a number of
// bytes.
type Size int64

// errSize tells how a size is written.
var errSize = errors.New("not a size, write it like 500MB, 5GB or 2TiB")

// ParseSize reads a size's text.
func ParseSize(s string) (Size, error) {
	n, err := humanize.ParseBytes(s)
	if err != nil || n > math.MaxInt64 || s == "" || s[0] < '0' || s[0] > '9' {
		return 0, fmt.Errorf("%.40q is %w", s, errSize)
	}
	return Size(n), nil
}

// String returns a text that ParseSize reads as s.
func (s Size) String() string {
	for _, unit := range []struct {
		name  string
		bytes Size
	}{
		{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9},
		{"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"KB", 1e3},
	} {
		if s >= unit.bytes && s%unit.bytes == 0 {
			return strconv.FormatInt(int64(s/unit.bytes), 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalJSON gives the text.
func (s Size) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalJSON reads the text, or a number of bytes.
func (s *Size) UnmarshalJSON(b []byte) error {
	if n, ok, err := wholeNumber(b); ok {
		if err != nil {
			return fmt.Errorf("%.40s is %w", b, errSize)
		}
		*s = Size(n)
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("%.40s is %w", b, errSize)
	}
	v, err := ParseSize(text)
	if err == nil {
		*s = v
	}
	return err
}

// Share is a part of a whole in settings, from 0 to 1. Its text is in per
// cent: `30%`. In JSON it may also be a number from 0 to 1.
type Share float64

// errShare tells how a share is written.
var errShare = errors.New("not a share, write it like 30%")

// ParseShare reads a share's text.
func ParseShare(s string) (Share, error) {
	digits, ok := strings.CutSuffix(s, "%")
	if !ok || strings.Trim(digits, "0123456789.") != "" {
		return 0, fmt.Errorf("%.40q is %w", s, errShare)
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil || f > 100 {
		return 0, fmt.Errorf("%.40q is %w", s, errShare)
	}
	return Share(f / 100), nil
}

// String returns the share in per cent.
func (s Share) String() string {
	return strconv.FormatFloat(math.Round(float64(s)*1e6)/1e4, 'f', -1, 64) + "%"
}

// MarshalJSON gives the text.
func (s Share) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalJSON reads the text, or a number from 0 to 1.
func (s *Share) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] != '"' {
		f, err := strconv.ParseFloat(string(b), 64)
		if err != nil || f < 0 || f > 1 {
			return fmt.Errorf("%.40s is %w", b, errShare)
		}
		*s = Share(f)
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("%.40s is %w", b, errShare)
	}
	v, err := ParseShare(text)
	if err == nil {
		*s = v
	}
	return err
}

// wholeNumber reads a JSON number; ok is false where b is something else.
func wholeNumber(b []byte) (n int64, ok bool, err error) {
	if len(b) == 0 || b[0] == '"' {
		return 0, false, nil
	}
	n, err = strconv.ParseInt(string(b), 10, 64)
	if err == nil && n < 0 {
		err = strconv.ErrRange
	}
	return n, true, err
}
