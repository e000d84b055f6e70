package install

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/version"
)

// checkVersion returns an error where the command is not the one for what is installed.
func (o *Options) checkVersion(found *Installation) error {
	own := o.Defaults.Version
	switch {
	case found == nil && o.Upgrade:
		return ErrNotInstalled
	case found == nil:
		return nil
	case found.Namespace != o.Defaults.Namespace:
		return fmt.Errorf("orb8 is installed in namespace %s already: use -n %s, or run kubectl orb8 uninstall first",
			found.Namespace, found.Namespace)
	case found.Version == own || found.Version == "":
		return nil
	case !o.Upgrade:
		return fmt.Errorf("orb8 %s is installed in namespace %s: run kubectl orb8 upgrade to change it to %s",
			found.Version, found.Namespace, own)
	case o.Force:
		return nil
	}
	from, known := release(found.Version)
	to, ownKnown := release(own)
	switch {
	case !known:
		return fmt.Errorf("version %s is installed, which is no release: --force changes it to %s", found.Version, own)
	case !ownKnown:
		return fmt.Errorf("this kubectl orb8 is %s, which is no release: --force changes %s to it", own, found.Version)
	case to.LessThan(from):
		return fmt.Errorf("version %s is installed, which is newer than this kubectl orb8 (%s): install the newer "+
			"plugin, or change it to the older version with --force", found.Version, own)
	}
	return nil
}

// release parses the version of a release. Builds between releases have versions too, whose order means nothing.
func release(text string) (*version.Version, bool) {
	v, err := version.ParseSemantic(text)
	if err != nil || !strings.HasPrefix(text, "v") || v.Major() == 0 && v.Minor() == 0 && v.Patch() == 0 {
		return nil, false
	}
	return v, true
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
