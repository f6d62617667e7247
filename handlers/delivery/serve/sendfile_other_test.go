//go:build !linux

package serve

const sendfileMovesFile = false
