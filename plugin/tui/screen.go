package tui

import (
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// The least size that the screen is drawn in.
const (
	minWidth  = 60
	minHeight = 15
)

// Lines of the screen beside the page.
const (
	headLines = 2
	footLines = 1
)

// maxNotes is how many notes are kept.
const maxNotes = 100

// screen is bubbletea's model: the pages, one of them active, the head and foot lines, and the overlays.
type screen struct {
	*common
	area

	pages  []page
	active page
	table  *tablePage
	detail *detailPage

	picker *picker
	help   bool

	querying bool // a query is running
	changed  bool // the query changed while it was running
	// pausedAt is the time of the pause, missed counts the events since then.
	pausedAt    time.Time
	missed      uint64
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
	c := &common{
		o: o, keys: newKeyMap(), style: newStyles(true), window: o.Window, sort: o.Sort, descending: o.Descending,
		filter: newFilterInput(o.Topic.Row),
	}
	s := &screen{common: c}
	s.table = &tablePage{common: c, levels: []level{{group: o.Group}}}
	s.detail = &detailPage{common: c, table: s.table}
	c.refresh, c.open, s.table.detail = s.runQuery, s.turn, s.detail
	s.pages = []page{&overviewPage{common: c, table: s.table}, s.table, s.detail}
	switch o.Topic.Name {
	case "network":
		s.pages = append(s.pages, &graphPage{common: c})
	case "gpu":
		s.pages = append(s.pages, &wastePage{common: c})
	}
	s.active = s.table
	return s
}

func (s *screen) Init() tea.Cmd {
	return tea.Batch(tea.RequestBackgroundColor, s.refresh(), s.tick(), await(s.o.Notes))
}

func (s *screen) tick() tea.Cmd {
	return tea.Tick(s.o.Every, func(t time.Time) tea.Msg { return tickMsg(t) })
}

// runQuery starts the active page's query, or notes that it must follow the running one.
func (s *screen) runQuery() tea.Cmd {
	if s.paused {
		return nil
	}
	if s.querying {
		s.changed = true
		return nil
	}
	s.querying, s.changed = true, false
	return runQuery(s.o.Source, s.question(s.active))
}

// question returns a page's query.
func (s *screen) question(p page) question {
	l := s.table.level()
	q := question{page: p, now: s.o.Now(), query: model.Query{
		Group: l.group, Window: s.window, Within: l.within, Match: s.filter.match,
		Sort: s.sort, Descending: s.descending,
	}}
	p.request(&q)
	return q
}

func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.resize(msg.Width, msg.Height)
		return s, s.refresh()
	case tea.BackgroundColorMsg:
		s.style = newStyles(msg.IsDark())
	case tickMsg:
		if s.paused {
			return s, tea.Batch(s.tick(), s.countMissed())
		}
		return s, tea.Batch(s.tick(), s.refresh())
	case answerMsg:
		return s, s.onAnswer(msg.answer)
	case countMsg:
		s.missed = uint64(msg)
	case noteMsg:
		s.notes = append(s.notes, string(msg))
		s.notes = s.notes[max(len(s.notes)-maxNotes, 0):]
		s.show(string(msg))
		return s, await(s.o.Notes)
	case doneMsg:
		s.show(string(msg))
	case tea.KeyPressMsg:
		return s, s.onKey(msg)
	case tea.PasteMsg:
		if s.filter.typing {
			return s, s.edit(msg)
		}
	case tea.MouseClickMsg, tea.MouseWheelMsg:
		if !s.filter.typing && !s.help && s.picker == nil && !s.small() {
			return s, s.active.Update(msg)
		}
	}
	return s, nil
}

func (s *screen) resize(width, height int) {
	s.SetSize(width, height)
	for _, p := range s.pages {
		p.SetSize(width, height-headLines-footLines)
	}
	s.filter.SetSize(width, footLines)
	if s.picker != nil {
		s.picker.SetSize(width, height)
	}
}

// onAnswer shows an answer, unless another page is active by now.
func (s *screen) onAnswer(a answer) tea.Cmd {
	s.querying = false
	if s.paused {
		return nil
	}
	if a.question.page == s.active {
		s.status, s.asOf = a.status, a.question.now
		for _, p := range s.pages {
			if p != s.active {
				p.drop()
			}
		}
		s.active.Update(a)
	}
	if s.changed {
		return s.refresh()
	}
	return nil
}

func (s *screen) onKey(msg tea.KeyPressMsg) tea.Cmd {
	a := s.keys.match(msg)
	if a == actInterrupt {
		s.interrupted = true
		return tea.Quit
	}
	s.message = ""
	switch {
	case s.filter.typing:
		return s.edit(msg)
	case s.picker != nil:
		chosen, closed := s.picker.Update(msg)
		if closed {
			s.picker = nil
		}
		if chosen != nil {
			return chosen()
		}
		return nil
	case s.help:
		s.help = false
		if a == actQuit {
			return tea.Quit
		}
		return nil
	}
	return s.act(a)
}

// act does what a key does on every page. The rest is the active page's.
func (s *screen) act(a action) tea.Cmd {
	switch a {
	case actQuit:
		return tea.Quit
	case actHelp:
		s.help = true
	case actNextPage:
		return s.turn(s.neighbour(1))
	case actPreviousPage:
		return s.turn(s.neighbour(-1))
	case actPage1, actPage2, actPage3, actPage4:
		if i := int(a - actPage1); i < len(s.pages) {
			return s.turn(s.pages[i])
		}
	case actBack:
		if s.active != s.table {
			return s.turn(s.table)
		}
		return s.table.back()
	case actFilter:
		return s.filter.focus()
	case actSort:
		s.choose(s.table.sortPicker())
	case actGroup:
		p := s.table.groupPicker()
		p.repeat = func() tea.Cmd { return s.active.Update(actFirst) }
		s.choose(p)
	case actExport:
		s.choose(s.exportPicker())
	case actReverse:
		s.descending = !s.descending
		return s.refresh()
	case actFalling, actRising:
		s.descending = a == actFalling
		return s.refresh()
	case actSortLeft:
		return s.table.sortBeside(-1, s.active == s.table)
	case actSortRight:
		return s.table.sortBeside(1, s.active == s.table)
	case actWindow:
		s.nextWindow()
		return s.refresh()
	case actPause:
		return s.pause()
	case actCopy:
		return s.copy()
	default:
		return s.active.Update(a)
	}
	return nil
}

// choose opens a list to choose from.
func (s *screen) choose(p *picker) {
	p.SetSize(s.width, s.height)
	s.picker = p
}

// neighbour is the page so many tabs beside the active one.
func (s *screen) neighbour(step int) page {
	at := slices.Index(s.pages, s.active)
	return s.pages[(at+step+len(s.pages))%len(s.pages)]
}

func (s *screen) turn(p page) tea.Cmd {
	s.active = p
	return s.refresh()
}

// edit changes the filter. It holds from the next answer on.
func (s *screen) edit(msg tea.Msg) tea.Cmd {
	cmd, changed := s.filter.Update(msg)
	if !changed {
		return cmd
	}
	s.table.top()
	return tea.Batch(cmd, s.refresh())
}

type countMsg uint64

// pause stops the picture, or lets it go on.
func (s *screen) pause() tea.Cmd {
	s.paused = !s.paused
	if s.paused {
		s.pausedAt, s.missed = s.o.Now(), 0
		return s.countMissed()
	}
	return s.refresh()
}

// countMissed counts the events since the pause.
func (s *screen) countMissed() tea.Cmd {
	source, now, before := s.o.Source, s.o.Now(), s.status.Events
	return func() tea.Msg { return countMsg(source.Status(now).Events - before) }
}
