//go:build !race

package monitor_test

import "testing"

// Half of a thousand nodes go at once: a minute of work for two processors, and
// ten with the race detector, which TestHalfGone gives a hundred.
func TestHalfOfAThousand(t *testing.T) { halfGone(t, 1000) }
