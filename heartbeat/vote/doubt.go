package vote

// Doubt tells whether a node should rather doubt itself than others: it watches
// at least four that nobody else has found to be down, and fails to reach nine
// tenths of them.
func Doubt(watched, failing int) bool {
	const few, part, whole = 4, 9, 10
	return watched >= few && failing*whole >= watched*part
}
