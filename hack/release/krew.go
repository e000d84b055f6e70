package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"text/template"
)

// platforms are those that the plugin is released for.
var platforms = [][2]string{{"darwin", "amd64"}, {"darwin", "arm64"}, {"linux", "amd64"}, {"linux", "arm64"},
	{"windows", "amd64"}, {"windows", "arm64"}}

// published is what is filled into the template of krew's manifest.
type published struct {
	Version   string
	Platforms []publishedPlatform
}

type publishedPlatform struct{ OS, Arch, Archive, SHA256, Binary string }

// semantic matches the versions that krew accepts.
var semantic = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

// writeManifest writes krew's manifest of the archives in a directory. It fails where one is missing.
func writeManifest(version, templateFile, out, dir string) error {
	if !semantic.MatchString(version) || templateFile == "" || out == "" {
		return errors.New("krew: want -version as v1.2.3, -template and -o")
	}
	filled := published{Version: version}
	for _, p := range platforms {
		name := archiveName(p[0], p[1])
		sum, err := sumFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		filled.Platforms = append(filled.Platforms, publishedPlatform{p[0], p[1], name, sum, binaryName(p[0])})
	}
	t, err := template.New(filepath.Base(templateFile)).Option("missingkey=error").ParseFiles(templateFile)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, filled); err != nil {
		return fmt.Errorf("%s: %w", templateFile, err)
	}
	return os.WriteFile(out, b.Bytes(), 0o644)
}
