//go:build !race

package monitor_test

import "testing"

const racing = false

// Half of a thousand nodes go at once: too much work for the race detector, which
// TestHalfGone gives a hundred.
func TestHalfOfAThousand(t *testing.T) { halfGone(t, 1000) }
