package e2e

import (
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestImageByDigest traces with an image reference like a release's, with a tag and a digest. The image has no such
// tag, so only the digest can find it.
func TestImageByDigest(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	client := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]})[0]
	v := e.Trace(t, "version", "-o", "json")
	v.Wait(t)
	var tag string
	v.JQ(t, &tag, ".[0].tracerImage")
	out, err := e.Cluster("digest", tag)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	repository, digest, _ := strings.Cut(strings.TrimSpace(out), "@")
	image := repository + ":no-such-tag@" + digest
	tr := e.Trace(t, "trace", "exec", "-n", ns, "-o", "json", "--image", image)
	tr.AwaitStreaming(t, 1)
	for _, p := range e.Tracers(t) {
		if got := p.Spec.Containers[0].Image; got != image {
			t.Errorf("the tracer's image is %s, want %s", got, image)
		}
	}
	client.Exec(t, "connect", "-to", "127.0.0.1:9")
	tr.AwaitJQ(t, `any(.kind == "exec" and .pod == "client")`)
	tr.Stop(t)
}
