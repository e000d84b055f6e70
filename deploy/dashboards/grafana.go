package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// schemaVersion is that of Grafana 10.4, which later versions migrate.
const schemaVersion = 39

// Sizes of panels, in columns (a dashboard has 24) and rows.
const (
	columns                    = 24
	graphWidth, graphHeight    = 12, 8
	figureWidth, figureHeight  = 4, 4
	rowHeight                  = 1
	lineWidth, fillOpacity     = 1, 10
	interval                   = "30s"
	sharedCrosshair            = 1
	onTimeRangeChange, byValue = 2, 1
)

// object is a JSON object.
type object = map[string]any

// datasource is the selected one.
var datasource = object{"type": "prometheus", "uid": "${datasource}"}

// JSON returns the dashboard as Grafana imports it.
func (d *Dashboard) JSON() ([]byte, error) {
	var links []any
	for _, other := range All() {
		if other.Name != d.Name {
			links = append(links, object{
				"title": other.Title, "type": "link", "url": "/d/" + other.Name, "icon": "dashboard", "tooltip": "",
				"tags": []any{}, "asDropdown": false, "targetBlank": false, "includeVars": true, "keepTime": true,
			})
		}
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(object{
		"uid": d.Name, "title": d.Title, "description": d.Description, "tags": []any{"orb8"},
		"schemaVersion": schemaVersion, "timezone": "browser", "editable": true, "graphTooltip": sharedCrosshair,
		"refresh": "30s", "time": object{"from": "now-1h", "to": "now"}, "links": links,
		"annotations": object{"list": []any{}}, "templating": object{"list": d.variables()}, "panels": d.panels(),
	})
	return b.Bytes(), err
}

func (d *Dashboard) variables() []any {
	all := []any{object{"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}}
	for _, v := range d.Variables {
		query := v.Query()
		all = append(all, object{
			"type": "query", "name": v.Name, "label": v.Title, "datasource": datasource, "definition": query,
			"query":   object{"query": query, "refId": "StandardVariableQuery"},
			"refresh": onTimeRangeChange, "sort": byValue, "multi": true, "includeAll": true, "allValue": ".*",
			"current": object{"selected": true, "text": "All", "value": "$__all"},
		})
	}
	return all
}

// Query is the query for the values, in Grafana's language.
func (v *Variable) Query() string { return fmt.Sprintf("label_values(%s, %s)", v.Metric, v.Name) }

// panels places the panels from left to right.
func (d *Dashboard) panels() (all []any) {
	id, y := 0, 0
	for _, r := range d.Rows {
		id++
		all = append(all, object{"type": "row", "id": id, "title": r.Title, "collapsed": false, "panels": []any{},
			"gridPos": object{"x": 0, "y": y, "w": columns, "h": rowHeight}})
		y += rowHeight
		x, height := 0, 0
		for i := range r.Panels {
			p := &r.Panels[i]
			w, h := graphWidth, graphHeight
			if p.Type == stat {
				w, h = figureWidth, figureHeight
			}
			if x+w > columns || height != h && x > 0 {
				x, y = 0, y+height
			}
			id++
			all = append(all, p.object(id, object{"x": x, "y": y, "w": w, "h": h}))
			x, height = x+w, h
		}
		y += height
	}
	return all
}

func (p *Panel) object(id int, position object) object {
	var targets []any
	for i, q := range p.Queries {
		target := object{"refId": string(rune('A' + i)), "datasource": datasource, "expr": q.Expr,
			"editorMode": "code", "range": p.Type != table, "instant": p.Type == table}
		if q.Legend != "" {
			target["legendFormat"] = q.Legend
		}
		if p.Type == table {
			target["format"] = "table"
		}
		targets = append(targets, target)
	}
	defaults := object{"unit": p.Unit}
	all := object{"type": p.Type, "id": id, "title": p.Title, "datasource": datasource, "gridPos": position,
		"targets": targets, "interval": interval, "fieldConfig": object{"defaults": defaults, "overrides": []any{}}}
	if p.Description != "" {
		all["description"] = p.Description
	}
	switch p.Type {
	case timeSeries:
		defaults["min"] = 0
		defaults["custom"] = object{"lineWidth": lineWidth, "fillOpacity": fillOpacity, "showPoints": "never"}
		all["options"] = object{
			"legend": object{"displayMode": "table", "placement": "bottom", "showLegend": true,
				"calcs": []any{"lastNotNull", "max"}},
			"tooltip": object{"mode": "multi", "sort": "desc"},
		}
	case stat:
		all["options"] = object{"colorMode": "none", "graphMode": "area", "justifyMode": "auto", "textMode": "auto",
			"orientation": "auto", "wideLayout": true, "showPercentChange": false,
			"percentChangeColorMode": "standard",
			"reduceOptions":          object{"calcs": []any{"lastNotNull"}, "fields": "", "values": false}}
	case table:
		all["options"] = object{"showHeader": true, "frameIndex": 0}
	}
	return all
}
