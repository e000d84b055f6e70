package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// AppendYAML appends an object as a document of YAML. Comments stand before it, and those of rules before each rule.
func AppendYAML(dst []byte, object any, p *Policy) ([]byte, error) {
	encoded, err := json.Marshal(object)
	if err != nil {
		return dst, fmt.Errorf("encode %s: %w", p.Name, err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(encoded, &document); err != nil { // JSON is YAML
		return dst, fmt.Errorf("encode %s: %w", p.Name, err)
	}
	blockStyle(&document)
	root := document.Content[0]
	sortHead(root)
	spec := field(root, "spec")
	comment(field(spec, "ingress"), p.Ingress)
	comment(field(spec, "egress"), p.Egress)
	if len(p.Comments) > 0 {
		document.HeadComment = strings.Join(p.Comments, "\n")
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(&document); err != nil {
		return dst, fmt.Errorf("encode %s: %w", p.Name, err)
	}
	if err := e.Close(); err != nil {
		return dst, fmt.Errorf("encode %s: %w", p.Name, err)
	}
	return append(append(dst, "---\n"...), out.Bytes()...), nil
}

// blockStyle removes the style of JSON.
func blockStyle(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		n.Style = 0 // quoted where it has to be
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// sortHead puts apiVersion and kind before all else, where people look for them.
func sortHead(root *yaml.Node) {
	for _, key := range []string{"kind", "apiVersion"} {
		for i := 0; i < len(root.Content); i += 2 {
			if root.Content[i].Value == key {
				pair := []*yaml.Node{root.Content[i], root.Content[i+1]}
				rest := append(append([]*yaml.Node{}, root.Content[:i]...), root.Content[i+2:]...)
				root.Content = append(pair, rest...)
			}
		}
	}
}

// field is the value of a key of a mapping; nil: it has none.
func field(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func comment(rules *yaml.Node, of []Rule) {
	if rules == nil {
		return
	}
	for i, n := range rules.Content {
		if i < len(of) && len(of[i].Evidence) > 0 {
			n.HeadComment = strings.Join(of[i].Evidence, "\n")
		}
	}
}
