// Fetches the URLs given through a fetchpool server and prints "STATUS BYTES URL" for each, in the order they finish.
// Exit status: 0 when all succeeded, 1 when one failed, 2 when the server could not be asked.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"
)

// Job holds what this program reads of a job.
type Job struct {
	ID      string
	State   string
	Request struct{ URL string }
	// Nil unless the job succeeded.
	Response *struct {
		Status    int
		BodyBytes int64 `json:"body_bytes"`
	}
	// Nil unless the job failed.
	Error *struct{ Code string }
}

func (j Job) String() string {
	switch {
	case j.Response != nil:
		return fmt.Sprintf("%d %d %s", j.Response.Status, j.Response.BodyBytes, j.Request.URL)
	case j.Error != nil:
		return fmt.Sprintf("%s 0 %s", j.Error.Code, j.Request.URL)
	}
	return fmt.Sprintf("%s 0 %s", j.State, j.Request.URL)
}

var client = http.Client{Timeout: 90 * time.Second}

func post(path string, value, result any) error {
	server := os.Getenv("FETCHPOOL")
	if server == "" {
		server = "http://localhost:8080"
	}
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	answer, err := client.Post(server+path, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	decoder := json.NewDecoder(answer.Body)
	if answer.StatusCode >= 400 {
		var problem struct{ Detail string }
		if err := decoder.Decode(&problem); err != nil {
			return fmt.Errorf("%s: %w", answer.Status, err)
		}
		return errors.New(problem.Detail)
	}
	return decoder.Decode(result)
}

// run tells whether all jobs succeeded.
func run(urls []string) (bool, error) {
	if len(urls) == 0 {
		return false, errors.New("usage: fetch URL...")
	}
	var pending []string
	for _, url := range urls {
		var job Job
		if err := post("/v1/jobs", map[string]any{"url": url, "timeout": "10s"}, &job); err != nil {
			return false, err
		}
		pending = append(pending, job.ID)
	}
	good := true
	for len(pending) > 0 {
		now, later := pending, []string(nil)
		if len(now) > 1000 {
			now, later = pending[:1000], pending[1000:]
		}
		var answer struct {
			Finished []Job
			Pending  []string
		}
		if err := post("/v1/wait?body=none", map[string]any{"ids": now, "mode": "any", "timeout": "30s"}, &answer); err != nil {
			return false, err
		}
		for _, job := range answer.Finished {
			good = good && job.State == "succeeded"
			fmt.Println(job)
		}
		pending = append(answer.Pending, later...)
	}
	return good, nil
}

func main() {
	good, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if !good {
		os.Exit(1)
	}
}
