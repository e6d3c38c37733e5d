package main

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// A parser that looks at one command tells of it and refuses flags as the parser of all commands does.
func TestOneCommandParsesAsAmongAll(t *testing.T) {
	all := reflect.TypeFor[commands]()
	for i := range all.NumField() {
		if _, command := all.Field(i).Tag.Lookup("cmd"); !command {
			continue
		}
		name := strings.ToLower(all.Field(i).Name)
		for _, args := range [][]string{{name, "--help"}, {name, "--no-such-flag"}, {"-q", name, "--help"}} {
			parse := func(cli any) string {
				var out bytes.Buffer
				parser, err := kong.New(cli, kong.Name("pacl"), kong.Writers(&out, &out), kong.Exit(func(int) { panic("left") }), kong.Vars{"version": "v"})
				if err != nil {
					t.Fatal(err)
				}
				func() {
					defer func() { _ = recover() }()
					if _, err := parser.Parse(args); err != nil {
						out.WriteString(err.Error())
					}
				}()
				return out.String()
			}
			want, got := parse(new(commands)), parse(new(commands).only(name))
			if want == "" || got != want {
				t.Errorf("%v: alone\n%s\namong all\n%s", args, got, want)
			}
		}
	}
	var cli commands
	if cli.only("no-such-command") != any(&cli) {
		t.Error("an unknown command is not looked for among all")
	}
	parser, err := kong.New(cli.only("scenes"), kong.Vars{"version": "v"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"scenes", "--out", "there", "-q"}); err != nil || cli.Scenes.Out != "there" || !cli.Quiet {
		t.Errorf("flags of one command: %v, %q, %v", err, cli.Scenes.Out, cli.Quiet)
	}
}
