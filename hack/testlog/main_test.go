package main

import (
	"strings"
	"testing"
)

func TestConvert(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     []string
		never    string
		rerun    string
		fails    bool
	}{
		{
			name: "a passing package is one line",
			in: `{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p","Elapsed":0.1}`,
			want:  []string{"ok  \tp\t0.1s\n"},
			never: "chatter",
		},
		{
			name: "a note of a passing test is shown",
			in: `{"Action":"output","Package":"p","Test":"TestA","Output":"note: more than before\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}`,
			want: []string{"note: more than before\n"},
		},
		{
			name: "a failed test's output is shown in full",
			in: `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}`,
			want:  []string{"got 1, want 2", "FAIL\tp"},
			rerun: "p ^(TestA)$\n",
			fails: true,
		},
		{
			name: "a failed subtest reruns its whole test, a passing one does not",
			in: `{"Action":"fail","Package":"p","Test":"TestA/x"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}
{"Action":"fail","Package":"q","Test":"TestC"}
{"Action":"fail","Package":"q"}`,
			rerun: "p ^(TestA)$\nq ^(TestC)$\n",
			fails: true,
		},
		{
			name: "many failures are no accident",
			in: `{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p","Test":"TestD"}
{"Action":"fail","Package":"p"}`,
			fails: true,
		},
		{
			name: "a crash shows the test's output",
			in: `{"Action":"output","Package":"p","Test":"TestA","Output":"panic: no\n"}
{"Action":"fail","Package":"p"}`,
			want:  []string{"panic: no"},
			fails: true,
		},
		{
			name: "a skipped test is listed with its reason",
			in: `{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: needs root\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestB"}`,
			want: []string{"skipped 1:", "p TestA: a_test.go:1: needs root\n"},
		},
		{
			name: "a failed build fails",
			in: `{"Action":"build-output","ImportPath":"p","Output":"p.go:1: undefined: x\n"}
{"Action":"build-fail","ImportPath":"p"}`,
			want:  []string{"undefined: x"},
			fails: true,
		},
		{name: "no test at all is a failure", in: "", fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			rerun, err := convert(strings.NewReader(test.in), &out)
			if rerun != test.rerun {
				t.Errorf("rerun %q, want %q", rerun, test.rerun)
			}
			if (err != nil) != test.fails {
				t.Errorf("error %v, want one: %v", err, test.fails)
			}
			for _, want := range test.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, out.String())
				}
			}
			if test.never != "" && strings.Contains(out.String(), test.never) {
				t.Errorf("output holds %q:\n%s", test.never, out.String())
			}
		})
	}
}
