package auth

// Blind returns a name for a text that does not tell it and that only who has the
// secret could find by trying texts: what is counted need not be stored. Names of one
// purpose say nothing of another's.
func (s *Signer) Blind(purpose, text string) string {
	return sign(s.peppers[0], "blind:"+purpose+":"+text)
}
