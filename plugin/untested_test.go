package plugin

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"

	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery/fake"

	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
)

func TestNoteVersion_OutsideTheTestedRange(t *testing.T) {
	for version, want := range map[string]string{
		"v1.30.14": "",
		"v1.29.3":  "note: the API server is v1.29.3: orb8 is tested with Kubernetes 1.30 to 1.37\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			client := kubefake.New()
			setVersion(client, version)
			var out bytes.Buffer
			stop := noteVersion(t.Context(), client, newReporter(&out).Logf)
			synctest.Wait()
			stop()
			if out.String() != want {
				t.Errorf("%s: %q, want %q", version, out.String(), want)
			}
		})
	}
}

func setVersion(client *kubefake.Client, v string) {
	client.Discovery().(*fake.FakeDiscovery).FakedServerVersion = &version.Info{GitVersion: v}
}

// silent is an API server that does not answer.
type silent struct{ kube.Interface }

func (silent) ServerVersion(ctx context.Context) (*version.Info, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestNoteVersion_DoesNotHoldUpTheEnd(t *testing.T) {
	var out bytes.Buffer
	noteVersion(t.Context(), silent{}, newReporter(&out).Logf)()
	if out.Len() > 0 {
		t.Errorf("%q", out.String())
	}
}
