package integration

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// browse starts a headless Chromium that reaches for nothing but our pages.
func browse(t *testing.T) context.Context {
	t.Helper()
	flags := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
		chromedp.WSURLReadTimeout(patience))
	alloc, stop := chromedp.NewExecAllocator(context.Background(), flags...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		// The browser writes to its folder until it has ended.
		_ = chromedp.Cancel(ctx)
		end()
	})
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	t.Cleanup(cancel)
	return ctx
}

func chromium(t *testing.T) string {
	t.Helper()
	for _, path := range []string{os.Getenv("CHROMIUM"), "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome",
		"/Applications/Chromium.app/Contents/MacOS/Chromium", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"} {
		if _, err := os.Stat(path); path != "" && err == nil {
			return path
		}
	}
	t.Fatal("no Chromium: install it (Debian: apt-get install chromium) or name it in CHROMIUM")
	return ""
}

// shoot keeps a picture of the page where SCREENSHOTS names a folder.
func shoot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	folder := os.Getenv("SCREENSHOTS")
	if folder == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, name+".png"), png, 0o600))
}

// page serves a page of another origin that embeds a video.
func page(t *testing.T, video string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!doctype html><title>player</title><video id=v muted controls width=640 src="%s"></video>`, html.EscapeString(video))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// player is what the page tells of its video.
type player struct {
	CurrentTime, Duration float64
	ReadyState, Width     int
	Frames                int
	Seeking, Paused       bool
	Error                 int
}

const readPlayer = `(() => { const v = document.getElementById('v'); return {
	CurrentTime: v.currentTime, Duration: v.duration || 0, ReadyState: v.readyState, Width: v.videoWidth,
	Frames: v.getVideoPlaybackQuality().totalVideoFrames, Seeking: v.seeking, Paused: v.paused, Error: v.error ? v.error.code : 0 } })()`

// await polls the page's player until ok says so.
func await(t *testing.T, ctx context.Context, what string, ok func(player) bool) player {
	t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		p, err := chromedp.Run(ctx, chromedp.Evaluate[player](readPlayer))
		if err == nil && ok(p) {
			return p
		}
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("not within %s: %s (%+v, %v)", patience, what, p, err)
		}
	}
}

func TestBrowserPlaysAndSeeks(t *testing.T) {
	parallel(t)
	path, data := movie(t)
	n := Start(t, Config{})
	n.MustRun("put", path)
	p := n.Login().Purchase(sha1Of(data), "mp4", nil)
	ctx := browse(t)

	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(page(t, n.URL("/"+p.Token+"/movie.mp4")))))
	await(t, ctx, "the browser knows the video", func(p player) bool { return p.ReadyState >= 1 })
	require.NoError(t, chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](`void document.getElementById('v').play()`)))
	playing := await(t, ctx, "it plays", func(p player) bool { return p.CurrentTime > 0.5 && p.ReadyState >= 2 })
	require.Equal(t, 1280, playing.Width)
	require.InDelta(t, 30, playing.Duration, 0.5)
	require.Positive(t, playing.Frames, "H.264 frames were decoded")
	require.Zero(t, playing.Error)

	require.NoError(t, chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](`document.getElementById('v').currentTime = 20`)))
	sought := await(t, ctx, "it goes on from 20 s", func(p player) bool { return !p.Seeking && p.CurrentTime > 20.2 && p.ReadyState >= 3 })
	require.Less(t, sought.CurrentTime, 28.0)
	require.Zero(t, sought.Error)
	shoot(t, ctx, "playing")
}

func TestBrowserShowsWhyItCannotPlay(t *testing.T) {
	parallel(t)
	path, data := movie(t)
	n := Start(t, Config{})
	n.MustRun("put", path)
	a := n.Login()
	expired := a.Purchase(sha1Of(data), "mp4", map[string]any{"life": 500})
	revoked := a.Purchase(sha1Of(data), "mp4", nil)
	a.MustPost("/content/purchase/remove", map[string]string{"token": revoked.Token}, nil)
	eventually(t, func() bool {
		res, _ := fetch(t, a.HTTP, http.MethodHead, n.URL("/"+expired.Token+"/movie.mp4"))
		return res.StatusCode == http.StatusGone
	}, "the purchase expires")
	ctx := browse(t)
	for _, c := range []struct{ name, token, says string }{
		{"expired", expired.Token, "expired"},
		{"revoked", revoked.Token, "not found"},
	} {
		url := n.URL("/" + c.token + "/movie.mp4")
		require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(page(t, url))))
		failed := await(t, ctx, "the player fails", func(p player) bool { return p.Error != 0 })
		require.Equal(t, 4, failed.Error, "MEDIA_ERR_SRC_NOT_SUPPORTED: the source gave no media")

		require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(url)))
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
		require.NoError(t, err)
		kind, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.contentType`))
		require.NoError(t, err)
		require.Equal(t, "text/html", kind, "a browser gets a page")
		require.Contains(t, strings.ToLower(text), c.says)
		require.NotContains(t, text, c.token)
		shoot(t, ctx, c.name)
	}
}
