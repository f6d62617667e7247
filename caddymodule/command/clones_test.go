package command

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/handlers/clonetool"
	"github.com/ooseio/oose/handlers/repair"
	"github.com/ooseio/oose/heartbeat"
)

// clonesNode answers POST /oose/clones with lines, and notes what it was asked.
func clonesNode(t *testing.T, asked *adminapi.ClonesRequest, lines ...any) string {
	return fakeNode(t, map[string]http.HandlerFunc{"POST /oose/clones": func(w http.ResponseWriter, r *http.Request) {
		*asked = adminapi.ClonesRequest{}
		require.NoError(t, json.NewDecoder(r.Body).Decode(asked))
		ndjson(t, lines...)(w, r)
	}})
}

func TestClonesCommand(t *testing.T) {
	var asked adminapi.ClonesRequest
	two, one, none := 2, 1, 0
	line := adminapi.StreamLine{Content: &adminapi.ContentLine{
		Hash: helloHash, Count: 1, Wanted: 2, Size: 2e9,
		Clones: []adminapi.CloneLine{{Store: "prism1:store1", Standing: "good", ID: "id1", Ext: "mp4", Size: 2e9}, {Store: "prism1:store2", Standing: "lost"}},
	}}
	counted := asResult(t, clonetool.Summary{Contents: 1234, Bytes: 5e9, ByCount: map[int]int64{1: 34, 2: 1200}})
	address := clonesNode(t, &asked, adminapi.StreamLine{Clones: &clonetool.Progress{Done: 1}}, line, counted)

	got := runCommand(t, address, "", "clones", "--below", "2", "--above", "0", "--folder", "ab/cd")
	require.NoError(t, got.failure, got.err)
	require.Equal(t, adminapi.ClonesRequest{Below: &two, Above: &none, Folder: "ab/cd"}, asked)
	require.Contains(t, got.out, helloHash+"  1 of 2     2.0 GB  prism1:store1 prism1:store2 (lost)\n")
	require.Regexp(t, `2 +1,200\nall +1,234, 5.0 GB`, got.out)

	got = runCommand(t, address, "", "clones", "--detail", helloHash+".mp4")
	require.Equal(t, adminapi.ClonesRequest{Detail: true, Hash: []string{helloHash}}, asked)
	require.Contains(t, got.out, "  prism1:store1  good  .mp4  2.0 GB  stored never  verified never  id id1\n")

	got = runCommand(t, address, "", "clones", "--all", "--json")
	require.NoError(t, got.failure)
	require.Contains(t, got.out, `{"hash":"`+helloHash+`","count":1`)
	require.Contains(t, got.out, `"byCount":{"1":34,"2":1200}`)

	runCommand(t, address, otherHash+"\n", "clones", "--at", "1", "--prism", "prism1", "--input", "-", "--clone-to", "store1", "--drop-from", "store2", "--verify",
		"--force", "--pretend", "--parallel", "9", "--protect-hash", helloHash, "--protect-store", "a", "--protect-store", "b")
	require.Equal(t, adminapi.ClonesRequest{
		At: &one, Prism: "prism1", Hash: []string{otherHash}, CloneTo: "store1", DropFrom: "store2", Verify: true, Force: true, Pretend: true, Parallel: 9,
		Protect: []string{helloHash}, ProtectStores: []string{"a", "b"},
	}, asked)
	require.ErrorContains(t, runCommand(t, address, "", "clones", "--input", "-", "--protect", "-").failure, "no hash was given")
	require.ErrorContains(t, runCommand(t, address, helloHash, "clones", "--input", "-", "--protect", "-").failure, "read once")
	require.ErrorContains(t, runCommand(t, address, "", "clones", "nonsense").failure, "is not a hash")
}

func TestClonesCommandActs(t *testing.T) {
	var asked adminapi.ClonesRequest
	content := &adminapi.ContentLine{Hash: helloHash, Count: 1, Wanted: 3, Steps: []clonetool.Step{
		{Did: clonetool.Wanted}, {Did: clonetool.Copied, Store: "prism1:store2"}, {Did: clonetool.Failed, Error: "no other store\x1b takes a clone of it"},
	}}
	sum := clonetool.Summary{Contents: 1, Bytes: 1000, Copied: 1, Moved: 1000, Failed: 1}
	address := clonesNode(t, &asked, adminapi.StreamLine{Content: content}, asResult(t, sum))
	got := runCommand(t, address, "", "clones", "--desired", "3", helloHash)
	require.ErrorContains(t, got.failure, "1 thing failed")
	require.Contains(t, got.out, helloHash+"  wanted in 3 clones\n"+helloHash+"  copied prism1:store2\n")
	require.Contains(t, got.err, helloHash+"  failed: no other store? takes a clone of it\n")
	require.Regexp(t, `clones copied +1 +1.0 kB`, got.out)

	sum.Pretend, sum.Failed = true, 0
	content.Steps = content.Steps[:2]
	address = clonesNode(t, &asked, adminapi.StreamLine{Content: content}, asResult(t, sum))
	got = runCommand(t, address, "", "clones", "--desired", "3", "--pretend", helloHash)
	require.NoError(t, got.failure)
	require.Contains(t, got.out, "would be copied prism1:store2\n")
	require.Contains(t, got.out, "nothing was done")

	address = clonesNode(t, &asked, asResult(t, clonetool.Summary{Damaged: 1}))
	require.EqualError(t, runCommand(t, address, "", "clones", "--verify", "--all").failure, "exiting with status 4")
}

func TestClonesRepairCommand(t *testing.T) {
	var asked adminapi.ClonesRequest
	address := clonesNode(t, &asked, asResult(t, adminapi.RepairAnswer{
		GivenUp: []string{"prism1:store2"}, Status: repair.Status{Missing: 1234, Urgent: 5, Held: 3, LastError: "no room", Rate: 2e6},
	}))
	got := runCommand(t, address, "", "clones", "repair", "--now")
	require.NoError(t, got.failure, got.err)
	require.Equal(t, adminapi.ClonesRequest{Repair: true, Now: true}, asked)
	for _, want := range []string{"prism1:store2 is taken for lost", "1,234 clones to be made by this node, 5 of them urgent", "3 stores are away", "no room", "2.0 MB/s"} {
		require.Contains(t, got.out, want)
	}
	got = runCommand(t, address, "", "clones", "--repair", "--json")
	require.Equal(t, adminapi.ClonesRequest{Repair: true}, asked)
	require.Contains(t, got.out, `"missing":1234`)
}

func TestDrainCommands(t *testing.T) {
	var asked adminapi.DrainRequest
	answer := adminapi.DrainLine{Store: "prism1:store1", Drain: repair.Drain{Left: 3, Bytes: 3000, Blocked: 1}, Safe: true}
	going := adminapi.StreamLine{Drain: &adminapi.DrainLine{Store: "prism1:store1", Drain: repair.Drain{Needed: 5}, Of: 9, Rate: 2, Remaining: 2500}}
	routes := map[string]http.HandlerFunc{"POST /oose/drain": func(w http.ResponseWriter, r *http.Request) {
		asked = adminapi.DrainRequest{}
		require.NoError(t, json.NewDecoder(r.Body).Decode(&asked))
		ndjson(t, going, asResult(t, answer))(w, r)
	}}
	routes["POST /oose/undrain"] = ndjson(t, asResult(t, adminapi.StoreAnswer{Store: "prism1:store1", ID: "id1"}))
	gone := adminapi.ForgetAnswer{Store: "prism1:store1", ID: "id1"}
	routes["POST /oose/forget"] = func(w http.ResponseWriter, r *http.Request) { ndjson(t, asResult(t, gone))(w, r) }
	var switched adminapi.SwitchRequest
	routes["POST /oose/switch"] = func(w http.ResponseWriter, r *http.Request) {
		switched = adminapi.SwitchRequest{}
		require.NoError(t, json.NewDecoder(r.Body).Decode(&switched))
		answerWith(t, adminapi.SwitchAnswer{Peer: "prism1:store1", Switches: heartbeat.Switches{Active: true}})(w, r)
	}
	address := fakeNode(t, routes)
	got := runCommand(t, address, "", "drain", "store1")
	require.NoError(t, got.failure, got.err)
	require.Equal(t, adminapi.DrainRequest{Store: "store1", Wait: true}, asked)
	require.Contains(t, got.out, "prism1:store1 is safe to remove\n  3 clones still lie on it and are not needed\n  1 of them is blocked")

	answer.Safe, answer.Needed, answer.Alone = false, 2, 1
	got = runCommand(t, address, "", "drain", "--no-wait", "store1")
	require.NoError(t, got.failure, got.err)
	require.False(t, asked.Wait)
	require.Equal(t, "prism1:store1 is draining: 2 clones are still needed (1 of them the only good one), of 3 there (3.0 kB)\n", got.out)

	require.Equal(t, "prism1:store1 takes clones again\n", runCommand(t, address, "", "undrain", "store1").out)
	require.Equal(t, "prism1:store1 is forgotten\n", runCommand(t, address, "", "forget", "store1").out)
	gone = adminapi.ForgetAnswer{Store: "prism1:store1", Alone: 3, Short: 1200, Lost: []string{"aa", "bb"}}
	require.Equal(t, `prism1:store1 is forgotten
  1,200 clones are made anew elsewhere
  LOST: of 3 contents no other store has a good clone. Upload them again, or bring the disk back:
    aa
    bb
    and 1 more
`, runCommand(t, address, "", "forget", "store1").out)
	got = runCommand(t, address, "", "switch", "store1", "readonly")
	require.Equal(t, "prism1:store1: active yes, writable no, draining no\n", got.out)
	require.Nil(t, switched.Active)
	require.False(t, *switched.Writable)
	runCommand(t, address, "", "switch", "store1", "active")
	require.True(t, *switched.Active)
	require.ErrorContains(t, runCommand(t, address, "", "switch", "store1", "off").failure, "say active")
}

// TestClonesBar draws what a terminal would show.
func TestClonesBar(t *testing.T) {
	var screen bytes.Buffer
	now := time.Unix(1000, 0)
	b := &bar{out: &screen, width: func() int { return 120 }, now: func() time.Time { return now }}
	sh := &shell{bar: b}
	b.start("clones")
	now = now.Add(10 * time.Second)
	sh.showClones(clonetool.Progress{Done: 25, Total: 100, Copied: 20, Moved: 20e6}, 10*time.Second)
	require.Contains(t, screen.String(), " 25%")
	require.Contains(t, screen.String(), "25 of 100, 20 copied, 2.0 MB/s, 30s left")
	now = now.Add(time.Second)
	sh.showDrain(adminapi.DrainLine{Drain: repair.Drain{Needed: 5}, Of: 20, Rate: 2.5, Remaining: 2000, BytesRate: 1e6})
	require.Contains(t, screen.String(), " 75%")
	require.Contains(t, screen.String(), "5 left, 2.5/s, 1.0 MB/s, 2s to go")
}
