package webhook

import (
	"encoding/base64"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The key and its thumbprint of RFC 8037, appendices A.2 and A.3.
func TestNewJWK(t *testing.T) {
	t.Parallel()
	public, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	want := JWK{
		Kty: "OKP", Crv: "Ed25519", X: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
		Kid: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", Alg: "EdDSA", Use: "sig",
	}
	if diff := cmp.Diff(want, newJWK(public)); diff != "" {
		t.Errorf("JWK (-want +got):\n%s", diff)
	}
}

// Keys that receivers hold must stay: derived by another implementation (Node's).
func TestJWKS_KeepsItsKeys(t *testing.T) {
	t.Parallel()
	var (
		ofOperator = JWK{
			Kty: "OKP", Crv: "Ed25519", X: "Qgo5ERXwMBIgt25mjHVcxH_kQRZAI1DRq3nR4Nc8Yno",
			Kid: "PYXYiI4NLyu2IYGxCIFUNSE27-4EuEaQa4GBg-RnRR4", Alg: "EdDSA", Use: "sig",
		}
		ofDatabase = JWK{
			Kty: "OKP", Crv: "Ed25519", X: "hgN99OZnlDnUVaWRKU0vEE-64gXWuOpQP-iIt4i6QJo",
			Kid: "EnkO7mVkwLpR-6Wrvse71GcyMWF1vVJ6BEdWDsGQkX4", Alg: "EdDSA", Use: "sig",
		}
		with    = NewKeyring("of the operator", "of the database")
		without = NewKeyring("", "of the database")
	)
	if diff := cmp.Diff(JWKS{Keys: []JWK{ofOperator, ofDatabase}}, with.JWKS()); diff != "" {
		t.Errorf("with an operator's secret (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(JWKS{Keys: []JWK{ofDatabase}}, without.JWKS()); diff != "" {
		t.Errorf("without (-want +got):\n%s", diff)
	}
}
