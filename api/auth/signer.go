package auth

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/base64"
)

// signatureBytes of the 32 of a sum: 128 bits can not be guessed.
const signatureBytes = 16

// eventsPrefix sets what is signed for a stream apart from every other id.
const eventsPrefix = "events:"

// A Signer signs ids of images and of streams, so that a URL can be handed to
// someone who has no key. A signature has no end of its own: the retention of what
// it grants bounds it.
type Signer struct {
	peppers []*pepper // the first signs
	numbers cipher.Block
}

// NewSigner returns a Signer. secret is the operator's, or empty to sign with
// the database's. Signatures made before it was set stay valid.
func NewSigner(secret, databaseSecret string) *Signer {
	const label = "nanobanana image url"
	s := &Signer{numbers: newNumbers(databaseSecret)}
	if secret != "" {
		s.peppers = append(s.peppers, newPepper(secret, label, pepperOfOperator))
	}
	s.peppers = append(s.peppers, newPepper(databaseSecret, label, pepperOfDatabase))
	return s
}

// Sign returns the signature of an image id: 22 characters that need no
// escaping in a URL.
func (s *Signer) Sign(imageID string) string { return sign(s.peppers[0], imageID) }

// Verify reports whether sig is an image id's, in time that does not depend on
// where the two differ.
func (s *Signer) Verify(imageID, sig string) bool {
	valid := 0
	for _, p := range s.peppers {
		valid |= subtle.ConstantTimeCompare([]byte(sign(p, imageID)), []byte(sig))
	}
	return valid == 1
}

// SignEvents returns the signature that grants the stream of a generation's events,
// in the form of Sign.
func (s *Signer) SignEvents(generationID string) string { return s.Sign(eventsPrefix + generationID) }

// VerifyEvents reports whether sig grants the stream of a generation's events, as
// Verify does.
func (s *Signer) VerifyEvents(generationID, sig string) bool {
	return s.Verify(eventsPrefix+generationID, sig)
}

func sign(p *pepper, text string) string {
	sum := p.hash(text)
	return base64.RawURLEncoding.EncodeToString(sum[:signatureBytes])
}
