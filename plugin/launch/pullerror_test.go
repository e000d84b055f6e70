package launch

import "testing"

func TestPullReason(t *testing.T) {
	const image = "ghcr.io/orb8-dev/orb8-tracer:v9"
	const lookupError = `failed to do request: Head "https://ghcr.io/v2/orb8-dev/orb8-tracer/manifests/v9": ` +
		`dial tcp: lookup ghcr.io: no such host`
	for _, test := range []struct{ name, message, want string }{
		{
			"containerd 1.6, image missing",
			`Back-off pulling image "` + image +
				`": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image "` +
				image + `": failed to resolve reference "` + image + `": ` + image + `: not found`,
			"not found",
		},
		{
			"no right to pull",
			`rpc error: code = Unknown desc = failed to pull and unpack image "` + image +
				`": failed to resolve reference "` + image +
				`": pull access denied, repository does not exist or may require authorization: server message: ` +
				`insufficient_scope`,
			"pull access denied, repository does not exist or may require authorization: server message: " +
				"insufficient_scope",
		},
		{
			"no network",
			lookupError, lookupError,
		},
		{"never pulled", `Container image "` + image + `" is not present with pull policy of Never`,
			`Container image "` + image + `" is not present with pull policy of Never`},
		{"no message", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := PullReason(image, test.message); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
