package serve

// sendfileMovesFile says that here net sends files by sendfile, which moves
// their position.
const sendfileMovesFile = true
