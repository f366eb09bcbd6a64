package limit_test

import (
	"testing"

	"github.com/nanobanana/nanobanana/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }
