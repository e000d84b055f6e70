package mcp

import (
	"context"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/orb8-dev/kubectl-orb8/docs"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// docsURI is the beginning of the URIs of pages.
const docsURI = "orb8://docs/"

// addResources offers the pages of the documentation, and the schema of each kind of row.
func (s *Server) addResources() {
	for _, page := range docs.Pages() {
		s.addResource(docsURI+page.Name, page.Name, page.Title, "text/markdown", page.Text)
	}
	s.addResource(docsURI+"filters", "filters", "Filters and sorting", "text/markdown", event.FilterHelp)
	for _, k := range event.Kinds() {
		s.addResource(columnsURI+k.Name, k.Name, "JSON Schema of a row: "+k.Doc, "application/schema+json",
			string(event.SchemaOf(k)))
	}
}

func (s *Server) addResource(uri, name, title, mimeType, text string) {
	s.sdk.AddResource(&sdk.Resource{
		URI: uri, Name: name, Title: title, MIMEType: mimeType, Size: int64(len(text)),
	}, func(context.Context, *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
		contents := []*sdk.ResourceContents{{URI: uri, MIMEType: mimeType, Text: text}}
		return &sdk.ReadResourceResult{Contents: contents}, nil
	})
}
