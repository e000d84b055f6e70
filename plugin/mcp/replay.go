package mcp

import "slices"

func (s *Server) replay() *tool {
	return &tool{
		name: "replay", title: "Read a recording",
		description: "Read a file that kubectl orb8 trace --record has written, without a cluster: its events, sums " +
			"of them (top), or verdicts (why). Without file, the recordings are listed.",
		parameters: slices.Concat([]string{"file", "top", "group", "why", "from", "to"}, rowParameters),
		words:      map[string][]string{"top": names(s.config.Top), "why": names(s.config.Why)},
		plan: func(a arguments) (*plan, error) {
			f, err := s.config.Recordings.open(a.text("file"))
			if err != nil {
				return nil, err
			}
			p := planned([]string{"replay"}, a)
			p.In, p.Args, p.allowed = f, []string{"-"}, readTime
			p.close = func() { _ = f.Close() }
			switch {
			case a.text("top") != "":
				p.kinds = []string{named(s.config.Top, a.text("top")).Kind}
				p.limitTop()
			case a.text("why") != "":
				p.kinds = []string{named(s.config.Why, a.text("why")).Kind}
			default:
				for _, t := range s.config.Trace {
					p.kinds = append(p.kinds, t.Kind)
				}
			}
			return p, nil
		},
		answer: func(a arguments) (*answer, error) {
			if a.text("file") != "" {
				return nil, nil
			}
			rows, left, err := s.config.Recordings.list()
			if err != nil {
				return nil, err
			}
			out := newAnswer()
			out.Rows = rows
			out.leaveOut(cutEntries, uint64(left))
			return out, nil
		},
	}
}
