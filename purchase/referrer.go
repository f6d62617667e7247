package purchase

import (
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"strings"
)

// Bounds of what a purchase can be bound to.
const (
	maxPatterns = 64   // referrers of a purchase
	maxPattern  = 1024 // bytes of one
	maxCost     = 4096 // about the instructions it may compile to
	maxTotal    = 8192 // the same for all of a purchase that are no plain text
	maxPrefixes = 64   // addresses and prefixes of a purchase
)

// pattern is a compiled referrer; one without an expression matches nothing.
type pattern struct {
	expression *regexp.Regexp
}

func (p pattern) matches(referer string) bool {
	return p.expression != nil && p.expression.MatchString(referer)
}

// parseReferrers compiles the referrers of a purchase and returns those that
// are not empty. Its error is ErrInvalidReferrer.
func parseReferrers(texts []string) ([]string, []pattern, error) {
	var kept []string
	var patterns []pattern
	room := maxTotal
	for _, text := range texts {
		if text == "" {
			continue
		}
		if len(kept) == maxPatterns {
			return nil, nil, fmt.Errorf("%w: more than %d of them", ErrInvalidReferrer, maxPatterns)
		}
		expression, err := compileReferrer(text, &room)
		if err != nil {
			return nil, nil, err
		}
		kept, patterns = append(kept, text), append(patterns, pattern{expression})
	}
	return kept, patterns, nil
}

// usablePatterns compiles referrers out of a record.
func usablePatterns(texts []string) []pattern {
	var patterns []pattern
	room := maxTotal
	for _, text := range texts {
		if text == "" {
			continue
		}
		expression, err := compileReferrer(text, &room)
		if err != nil {
			expression = nil
		}
		patterns = append(patterns, pattern{expression})
	}
	return patterns
}

// compileReferrer compiles one pattern. Counted repetitions let a short text
// become a program of many megabytes; what would is refused before it does.
// Matching takes time in proportion to the program, on every request: room is
// what is left for this purchase. Plain text is searched for and takes none.
func compileReferrer(text string, room *int) (*regexp.Regexp, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrInvalidReferrer, len(text), maxPattern)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("%w %.80q: %w", ErrInvalidReferrer, text, err)
	}
	n := cost(tree)
	if n > maxCost {
		return nil, fmt.Errorf("%w %.80q: it repeats too much", ErrInvalidReferrer, text)
	}
	if tree.Op != syntax.OpLiteral || tree.Flags&syntax.FoldCase != 0 {
		if n > *room {
			return nil, fmt.Errorf("%w %.80q: with those before it, it repeats too much", ErrInvalidReferrer, text)
		}
		*room -= n
	}
	expression, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%w %.80q: %w", ErrInvalidReferrer, text, err)
	}
	return expression, nil
}

// cost estimates how many instructions an expression compiles to; it stops
// growing where it is beyond all bounds.
func cost(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)/2
	if re.Op == syntax.OpLiteral {
		n = len(re.Rune)
	}
	for _, sub := range re.Sub {
		n = min(n+cost(sub), 2*maxCost)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min+1, re.Max)
	}
	return min(n, 2*maxCost)
}

// ParsePrefixes reads addresses (203.0.113.9, 2001:db8::1) and prefixes
// (203.0.113.0/24, 2001:db8::/32); an address becomes the prefix that holds it
// alone. Empty texts are left out. Its error is ErrInvalidAddress.
func ParsePrefixes(texts []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range texts {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		if len(prefixes) == maxPrefixes {
			return nil, fmt.Errorf("%w: more than %d of them", ErrInvalidAddress, maxPrefixes)
		}
		prefix, err := parsePrefix(text)
		if err != nil {
			return nil, err
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%w %.80q: use an address (203.0.113.9) or a prefix (203.0.113.0/24, 2001:db8::/64)", ErrInvalidAddress, text)
	}
	if prefix.Addr().Is4In6() {
		const mapped = 96 // bits before the IPv4 address (RFC 4291, 2.5.5.2)
		if prefix.Bits() < mapped {
			return netip.Prefix{}, fmt.Errorf("%w %.80q: write IPv4 prefixes as 203.0.113.0/24", ErrInvalidAddress, text)
		}
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-mapped)
	}
	return prefix.Masked(), nil
}

// plainAddr returns an address as prefixes hold it: IPv4 not wrapped in IPv6,
// without a zone.
func plainAddr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
