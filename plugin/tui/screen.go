package tui

import (
	"time"

	"charm.land/bubbles/v2/key"
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// page is one of the pages.
type page int

const (
	pageOverview page = iota
	pageTable
	pageDetail
	pageGraph
	pageWaste
	pages
)

// The least that the screen is drawn in.
const (
	minWidth  = 60
	minHeight = 15
)

// spare is how many rows are asked for above and below those that are shown, for scrolling before the next answer.
const spare = 100

// level is a table that was gone into: where in it one is.
type level struct {
	group  *model.Group
	within []model.Within
	// names are those of the rows that were gone into.
	names []string
	// cursor is a row, top the first that is shown; both count from the first of all rows.
	cursor, top int
}

// screen is the state of all pages. It is bubbletea's model.
type screen struct {
	o      Options
	keys   keyMap
	style  styles
	width  int
	height int

	page   page
	levels []level
	window time.Duration
	sort   *event.Column
	// descending sorts the largest first.
	descending bool

	input   textinput.Model
	typing  bool
	text    string // the filter
	match   func(*event.Event) (bool, error)
	cel     bool
	problem error

	picker *picker
	help   bool
	// scroll is the first line of the graph that is shown.
	scroll int

	answer  answer
	asking  bool // a question is on its way
	changed bool // since it was asked
	paused  bool
	// since is when it was paused, with the events that there were.
	since  time.Time
	missed uint64

	notes []string
	// said is the newest note or what a key did, until the next key or for some seconds.
	said        string
	saidAt      time.Time
	interrupted bool
}

func newScreen(o Options) *screen {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.Group == nil {
		o.Group = o.Topic.Groups[0]
	}
	if o.Sort == nil {
		o.Sort, o.Descending = o.Topic.Row.Column(o.Topic.Sort), true
	}
	s := &screen{
		o: o, keys: newKeyMap(), style: newStyles(true), page: pageTable, levels: []level{{group: o.Group}},
		window: o.Window, sort: o.Sort, descending: o.Descending, input: textinput.New(),
	}
	s.input.Prompt = "/"
	look := s.input.Styles()
	look.Cursor.Blink = false
	s.input.SetStyles(look)
	return s
}

func (s *screen) Init() tea.Cmd {
	return tea.Batch(tea.RequestBackgroundColor, s.refresh(), s.tick(), await(s.o.Notes))
}

func (s *screen) tick() tea.Cmd {
	return tea.Tick(s.o.Every, func(t time.Time) tea.Msg { return tickMsg(t) })
}

// level is the table that one is in.
func (s *screen) level() *level { return &s.levels[len(s.levels)-1] }

// refresh asks again, after the answer that is on its way.
func (s *screen) refresh() tea.Cmd {
	if s.paused {
		return nil
	}
	if s.asking {
		s.changed = true
		return nil
	}
	s.asking, s.changed = true, false
	return ask(s.o.Source, s.question())
}

func (s *screen) question() question {
	l := s.level()
	q := question{page: s.page, now: s.o.Now(), few: 5, query: model.Query{
		Group: l.group, Window: s.window, Within: l.within, Match: s.match, Sort: s.sort, Descending: s.descending,
	}}
	switch s.page {
	case pageTable:
		q.query.Offset = max(l.top-spare, 0)
		q.query.Limit = l.top - q.query.Offset + s.rows() + spare
	case pageWaste:
		q.query = s.wasteQuery()
	case pageOverview:
		q.query.Within, q.query.Group = nil, s.o.Topic.Groups[0]
		q.groups = s.summaries(q.query.Within)
	case pageDetail:
		if row, ok := s.selected(); ok {
			q.query.Within = append(append([]model.Within{}, l.within...), model.Within{Group: l.group, Key: row.Key})
		}
		q.groups = s.summaries(q.query.Within)
	}
	return q
}

// summaries are the groups whose first rows the overview and a detail show: those that have not been gone into.
func (s *screen) summaries(within []model.Within) (groups []*model.Group) {
	for _, name := range []string{"pod", "peer", "question", "syscall", "server", "process", "workload", "node"} {
		g := s.o.Topic.GroupByName(name)
		if g == nil || len(groups) == 4 {
			continue
		}
		used := false
		for _, w := range within {
			used = used || w.Group == g
		}
		if !used {
			groups = append(groups, g)
		}
	}
	return groups
}

func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = msg.Width, msg.Height
		s.clamp()
		return s, s.refresh()
	case tea.BackgroundColorMsg:
		s.style = newStyles(msg.IsDark())
	case tickMsg:
		if s.paused {
			return s, tea.Batch(s.tick(), s.count())
		}
		return s, tea.Batch(s.tick(), s.refresh())
	case answerMsg:
		return s, s.take(msg.answer)
	case countMsg:
		s.missed = uint64(msg)
	case noteMsg:
		s.notes = append(s.notes, string(msg))
		if len(s.notes) > 100 {
			s.notes = s.notes[1:]
		}
		s.say(string(msg))
		return s, await(s.o.Notes)
	case doneMsg:
		s.say(string(msg))
	case tea.KeyPressMsg:
		return s, s.press(msg)
	case tea.PasteMsg:
		if s.typing {
			return s, s.typed(msg)
		}
	case tea.MouseClickMsg:
		return s, s.click(msg)
	case tea.MouseWheelMsg:
		return s, s.wheel(msg)
	}
	return s, nil
}

// take shows an answer, unless the question has become another one.
func (s *screen) take(a answer) tea.Cmd {
	s.asking = false
	if s.paused {
		return nil
	}
	if a.question.page == s.page {
		if s.page != pageTable { // keeps the rows that one may go back to
			a.table = s.answer.table
			a.question.query.Offset = s.answer.question.query.Offset
		}
		s.answer = a
		s.clamp()
	}
	if s.changed {
		return s.refresh()
	}
	return nil
}

// say tells something in the last line.
func (s *screen) say(what string) { s.said, s.saidAt = what, s.o.Now() }

// spoken is how long that stands there.
const spoken = 6 * time.Second

// rows is how many rows of the table there is room for.
func (s *screen) rows() int { return max(s.height-tableFrame, 1) }

// row is the one at a place among all rows, if it is known.
func (s *screen) row(at int) (model.Row, bool) {
	i := at - s.answer.question.query.Offset
	if i < 0 || i >= len(s.answer.table.Rows) {
		return model.Row{}, false
	}
	return s.answer.table.Rows[i], true
}

func (s *screen) selected() (model.Row, bool) { return s.row(s.level().cursor) }

// clamp keeps the cursor on a row and the row on the screen. While it is paused there are no other rows than those that
// are known.
func (s *screen) clamp() {
	l := s.level()
	first, last := 0, s.answer.table.Matching-1
	if s.paused {
		first = s.answer.question.query.Offset
		last = first + len(s.answer.table.Rows) - 1
	}
	l.cursor = max(min(l.cursor, last), first, 0)
	l.top = max(min(l.top, l.cursor, last-s.rows()+1), l.cursor-s.rows()+1, first, 0)
}

func (s *screen) press(msg tea.KeyPressMsg) tea.Cmd {
	if key.Matches(msg, s.keys.interrupt) {
		s.interrupted = true
		return tea.Quit
	}
	s.said = ""
	switch {
	case s.typing:
		return s.typed(msg)
	case s.picker != nil:
		return s.pick(msg)
	case s.help:
		s.help = false
		if key.Matches(msg, s.keys.quit) {
			return tea.Quit
		}
		return nil
	}
	k := &s.keys
	switch {
	case key.Matches(msg, k.quit):
		return tea.Quit
	case key.Matches(msg, k.help):
		s.help = true
	case key.Matches(msg, k.next):
		return s.turn(s.after(1))
	case key.Matches(msg, k.previous):
		return s.turn(s.after(-1))
	case key.Matches(msg, k.up):
		return s.move(-1)
	case key.Matches(msg, k.down):
		return s.move(1)
	case key.Matches(msg, k.pageUp):
		return s.move(-s.rows())
	case key.Matches(msg, k.pageDown):
		return s.move(s.rows())
	case key.Matches(msg, k.first):
		return s.move(-s.level().cursor)
	case key.Matches(msg, k.last):
		return s.move(s.answer.table.Matching)
	case key.Matches(msg, k.enter):
		return s.enter()
	case key.Matches(msg, k.back):
		return s.back()
	case key.Matches(msg, k.filter):
		s.typing = true
		s.input.SetValue(s.text)
		s.input.CursorEnd()
		return s.input.Focus()
	case key.Matches(msg, k.sort):
		s.picker = s.sortPicker()
	case key.Matches(msg, k.group):
		s.picker = s.groupPicker()
	case key.Matches(msg, k.export):
		s.picker = s.exportPicker()
	case key.Matches(msg, k.reverse):
		s.descending = !s.descending
		return s.refresh()
	case key.Matches(msg, k.falling):
		s.descending = true
		return s.refresh()
	case key.Matches(msg, k.rising):
		s.descending = false
		return s.refresh()
	case key.Matches(msg, k.left):
		return s.sortBeside(-1)
	case key.Matches(msg, k.right):
		return s.sortBeside(1)
	case key.Matches(msg, k.window):
		s.nextWindow()
		return s.refresh()
	case key.Matches(msg, k.pause):
		return s.pause()
	case key.Matches(msg, k.copy):
		return s.copy()
	}
	n := 0
	for p := range pages {
		if !s.has(p) {
			continue
		}
		if key.Matches(msg, k.page[n]) {
			return s.turn(p)
		}
		n++
	}
	return nil
}

// has tells whether there is such a page.
func (s *screen) has(p page) bool {
	switch p {
	case pageGraph:
		return s.o.Topic.Name == "network"
	case pageWaste:
		return s.o.Topic.Name == "gpu"
	}
	return true
}

func (s *screen) after(step int) page {
	p := s.page
	for {
		p = (p + page(step) + pages) % pages
		if s.has(p) {
			return p
		}
	}
}

func (s *screen) turn(p page) tea.Cmd {
	s.page = p
	return s.refresh()
}

func (s *screen) move(by int) tea.Cmd {
	if s.page == pageGraph || s.page == pageWaste {
		s.scroll = max(s.scroll+by, 0)
		return nil
	}
	l := s.level()
	l.cursor += by
	s.clamp()
	return s.refresh()
}

// enter goes into the selected row: its rows of the next group, and at the end all that is known of it.
func (s *screen) enter() tea.Cmd {
	if s.page != pageTable {
		return nil
	}
	row, ok := s.selected()
	if !ok {
		return nil
	}
	l := *s.level()
	next := s.o.Topic.Inner(l.group, l.within)
	if next == nil {
		return s.turn(pageDetail)
	}
	if s.paused { // other rows are not known
		s.say("paused: space goes on")
		return nil
	}
	name := cell(s.o.Topic.Row.Column("name"), row.Event, s.view())
	s.levels = append(s.levels, level{
		group: next, within: append(append([]model.Within{}, l.within...), model.Within{Group: l.group, Key: row.Key}),
		names: append(append([]string{}, l.names...), name),
	})
	s.text, s.match, s.cel, s.problem = "", nil, false, nil
	s.answer.table = model.Table{}
	return s.refresh()
}

func (s *screen) back() tea.Cmd {
	switch {
	case s.page != pageTable:
		return s.turn(pageTable)
	case s.text != "":
		s.text, s.match, s.cel, s.problem = "", nil, false, nil
	case len(s.levels) > 1 && !s.paused:
		s.levels = s.levels[:len(s.levels)-1]
		s.answer.table = model.Table{}
	}
	return s.refresh()
}

func (s *screen) nextWindow() {
	for i, w := range model.Windows {
		if w == s.window {
			s.window = model.Windows[(i+1)%len(model.Windows)]
			return
		}
	}
	s.window = model.Windows[0]
}

type countMsg uint64

// pause lets the picture stand still, or go on.
func (s *screen) pause() tea.Cmd {
	s.paused = !s.paused
	if s.paused {
		s.since, s.missed = s.o.Now(), 0
		return s.count()
	}
	return s.refresh()
}

// count asks how many events there were since the pause.
func (s *screen) count() tea.Cmd {
	source, now, before := s.o.Source, s.o.Now(), s.answer.status.Events
	return func() tea.Msg { return countMsg(source.Status(now).Events - before) }
}

func (s *screen) copy() tea.Cmd {
	row, ok := s.selected()
	if s.page == pageDetail && s.answer.detail.Row.Event != nil {
		row, ok = s.answer.detail.Row, true
	}
	if !ok {
		return nil
	}
	s.say("copied as JSON")
	return tea.SetClipboard(string(event.AppendJSON(nil, row.Event)))
}

// typed edits the filter; it holds from the next answer on.
func (s *screen) typed(msg tea.Msg) tea.Cmd {
	if k, ok := msg.(tea.KeyPressMsg); ok {
		switch k.String() {
		case "enter":
			s.typing = false
			s.input.Blur()
			return nil
		case "esc":
			s.typing = false
			s.input.Blur()
			s.input.SetValue("")
		}
	}
	var cmd tea.Cmd
	s.input, cmd = s.input.Update(msg)
	if s.input.Value() == s.text {
		return cmd
	}
	s.text = s.input.Value()
	s.match, s.cel, s.problem = matcher(s.text, s.o.Topic.Row)
	l := s.level()
	l.cursor, l.top = 0, 0
	return tea.Batch(cmd, s.refresh())
}

func (s *screen) view() *event.View { return &event.View{Namespace: s.o.Namespace} }
