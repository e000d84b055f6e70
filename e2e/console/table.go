package console

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// gap is what separates the cells of a table.
var gap = regexp.MustCompile(` {2,}`)

// Cut leaves of a table in printed lines the columns with these headers. Lines that are no rows stay as they are.
func Cut(lines, columns []string) []string {
	if len(columns) == 0 {
		return lines
	}
	width, places := 0, []int(nil)
	rows := make([][]string, len(lines))
	widths := make([]int, len(columns))
	for i, line := range lines {
		cells := gap.Split(strings.TrimRight(line, " "), -1)
		if at := find(cells, columns); at != nil {
			places, width = at, len(cells)
		}
		if len(cells) == width-1 {
			cells = append(cells, "") // the last one is empty
		}
		if places == nil || len(cells) != width {
			continue
		}
		for j, place := range places {
			rows[i] = append(rows[i], cells[place])
			widths[j] = max(widths[j], utf8.RuneCountInString(cells[place]))
		}
	}
	cut := make([]string, len(lines))
	for i, row := range rows {
		if row == nil {
			cut[i] = lines[i]
			continue
		}
		var b strings.Builder
		for j, cell := range row {
			b.WriteString(cell + strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell)+2))
		}
		cut[i] = strings.TrimRight(b.String(), " ")
	}
	return cut
}

// find returns the places of the columns among a header's cells, or nil if they are not all there.
func find(cells, columns []string) []int {
	var places []int
	for _, column := range columns {
		place := slices.Index(cells, column)
		if place < 0 {
			return nil
		}
		places = append(places, place)
	}
	return places
}
