// Package command is the commands of a node: what `caddy oose put`, or `oose
// put`, does. They talk to the running node through Caddy's admin API.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// groupName is the one command that the module adds to a Caddy: `caddy oose
// put`. The binary of cmd/oose has the same commands at top level as well.
const groupName = "oose"

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  groupName,
		Usage: "<command>",
		Short: "Puts content into a running OOSE node, and manages it",
		Long:  "Commands for the OOSE node that runs on this machine; they ask it through Caddy's admin API.",
		CobraFunc: func(group *cobra.Command) {
			// Where the commands stand at top level, the group is only for scripts
			// that were written for another build.
			group.Hidden = caddy.CustomBinaryName == groupName
			needsCommand(group)
			for _, c := range All() {
				group.AddCommand(subcommand(c))
			}
		},
	})
}

// All returns the commands of a node, for a binary that has them at top level.
func All() []caddycmd.Command {
	return []caddycmd.Command{
		putCommand(), getCommand(), purchaseCommand(), revokeCommand(),
		statusCommand(), peersCommand(), inventoryCommand(), scanCommand(), verifyCommand(), adoptCommand(),
		clonesCommand(), drainCommand(), undrainCommand(), forgetCommand(), switchCommand(),
		blockCommand(), unblockCommand(), auditCommand(),
		userCommand(), exportCommand(), importCommand(),
	}
}

// subcommand makes of a Caddy command what Caddy would make of it at top level.
func subcommand(c caddycmd.Command) *cobra.Command {
	cmd := &cobra.Command{Use: c.Name + " " + c.Usage, Short: c.Short, Long: c.Long}
	c.CobraFunc(cmd)
	return cmd
}

// needsCommand has a group fail that is called without one of its commands, or
// with one that it does not have: cobra would show the help and exit with 0,
// and a script that misspells a command would go on.
func needsCommand(group *cobra.Command) {
	group.Args = cobra.NoArgs
	group.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := cmd.Help(); err != nil {
			return err
		}
		return errors.New("name one of the commands above")
	}
}

// Exit statuses of the commands, beside 0.
const (
	exitFailed      = 1   // refused, or failed
	exitUnreachable = 3   // no server answers
	exitDamaged     = 4   // a verification found clones that are not what their hash says
	exitProblems    = 5   // the node tells of problems
	exitInterrupted = 130 // as a shell reports SIGINT
)

const exitHelp = `

Exit status: 0 done; 1 refused or failed; 3 no server answers; 4 damage was found;
5 the status tells of problems.`

// shell is what a command runs with.
type shell struct {
	in       io.Reader
	out, err io.Writer
	json     bool // answer in JSON
	node     *adminClient
	bar      *bar
}

// action is what a command does.
type action func(ctx context.Context, sh *shell, args []string) error

// nodeCommand makes a command that asks the running node. setup adds its flags
// and returns what it does.
func nodeCommand(c caddycmd.Command, args cobra.PositionalArgs, setup func(*cobra.Command) action) caddycmd.Command {
	c.Long += exitHelp
	c.CobraFunc = func(cmd *cobra.Command) { prepare(cmd, args, setup) }
	return c
}

func prepare(cmd *cobra.Command, args cobra.PositionalArgs, setup func(*cobra.Command) action) {
	flags := cmd.Flags()
	address := flags.String("address", "", "The address of the node's admin API, as in Caddy's configuration")
	config := flags.StringP("config", "c", "", "The configuration file that names the address of the admin API")
	adapter := flags.StringP("adapter", "a", "", "The adapter of that configuration file")
	asJSON := flags.Bool("json", false, "Answer in JSON")
	act := setup(cmd)
	cmd.Args = args
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cmd.SilenceErrors = true // told below, without a prefix
		admin, err := caddycmd.DetermineAdminAPIAddress(*address, nil, *config, *adapter)
		if err != nil {
			return finish(cmd, fmt.Errorf("finding the address of the admin API: %w", err))
		}
		node, err := newAdminClient(admin)
		if err != nil {
			return finish(cmd, err)
		}
		defer node.close()
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		sh := &shell{
			in: cmd.InOrStdin(), out: cmd.OutOrStdout(), err: cmd.ErrOrStderr(),
			json: *asJSON, node: node, bar: newBar(cmd.ErrOrStderr()),
		}
		node.warn = func(text string) { fmt.Fprintf(sh.err, "Warning: %s\n", text) }
		err = act(ctx, sh, args)
		sh.bar.finish()
		if err != nil && ctx.Err() != nil {
			err = errInterrupted
		}
		return finish(cmd, err)
	}
}

var (
	errInterrupted = errors.New("interrupted")
	errProblems    = errors.New("not all is well")
)

// finish tells an error and returns it as one that makes Caddy's main function
// exit with the status that stands for it.
func finish(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Error: %v\n", err)
	status := exitFailed
	switch {
	case errors.Is(err, errInterrupted):
		status = exitInterrupted
	case errors.Is(err, errUnreachable):
		status = exitUnreachable
	case errors.Is(err, errDamaged):
		status = exitDamaged
	case errors.Is(err, errProblems):
		status = exitProblems
	default:
		return err
	}
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return status, nil })(cmd, nil)
}

// print writes a line for people.
func (sh *shell) print(format string, args ...any) {
	fmt.Fprintf(sh.out, format+"\n", args...)
}

// printJSON writes v as one line of JSON.
func (sh *shell) printJSON(v any) error {
	e := json.NewEncoder(sh.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
