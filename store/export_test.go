package store

// SessionStateSQL is what SessionState asks.
const SessionStateSQL = sessionStateSQL
