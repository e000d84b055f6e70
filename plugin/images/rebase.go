// Package images saves the images that orb8 starts, for clusters that reach no registry or one of their own.
package images

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Mirrored returns the reference of an image at another registry, which may have a path: its tag and its digest are the
// same. An empty registry leaves it as it is.
func Mirrored(ref, registry string) (string, error) {
	if registry == "" {
		return ref, nil
	}
	host, _, _ := strings.Cut(registry, "/")
	// Without a dot or a port, a reference begins with a path at Docker Hub.
	if !strings.ContainsAny(host, ".:") && host != "localhost" || strings.HasSuffix(registry, "/") ||
		strings.ContainsAny(registry, "@ \t\n") || strings.Contains(registry, "//") {
		return "", fmt.Errorf("%q: want HOST[:PORT][/PATH], such as registry.example.com/mirror", registry)
	}
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return "", err
	}
	_, path, _ := strings.Cut(ref, parsed.Context().RegistryStr()+"/")
	mirrored := registry + "/" + path
	if _, err := name.ParseReference(mirrored); err != nil {
		return "", fmt.Errorf("%q: want HOST[:PORT][/PATH]: %w", registry, err)
	}
	return mirrored, nil
}
