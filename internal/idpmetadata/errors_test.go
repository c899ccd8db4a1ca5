package idpmetadata_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"cequence.cloud/saml-operator/internal/idpmetadata"
)

func TestReasonOf(t *testing.T) {
	cause := errors.New("10.0.0.1 refused")
	err := fmt.Errorf("fetch: %w", &idpmetadata.Error{Reason: idpmetadata.ConnectFailed, Message: "no connection; try again", Err: cause})
	assert.Equal(t, idpmetadata.ConnectFailed, idpmetadata.ReasonOf(err))
	assert.EqualError(t, err, "fetch: no connection; try again", "the cause stays inside")
	assert.ErrorIs(t, err, cause)
	assert.Empty(t, idpmetadata.ReasonOf(cause))
	assert.Empty(t, idpmetadata.ReasonOf(nil))
}
