package version

import "testing"

func TestTracerImage_IsByDigestWhereKnown(t *testing.T) {
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	if got := withDigest(TracerTag(), ""); got != TracerRepository+":"+Version() {
		t.Errorf("without a digest: %s", got)
	}
	if got := withDigest(TracerTag(), digest); got != TracerRepository+":"+Version()+"@"+digest {
		t.Errorf("with a digest: %s", got)
	}
}
