// Orders sends a task for each order, and waits for the answers:
//
//	KAFKA=localhost:9092 REPLIES=orders-replies go run . order-1=/pub/a.csv order-2=/pub/b.csv
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	kafka   = cmp.Or(os.Getenv("KAFKA"), "localhost:9092")
	tasks   = cmp.Or(os.Getenv("TASKS"), "ftp-tasks")
	replies = os.Getenv("REPLIES")
)

const patience = 120 * time.Second

type file struct {
	Connection string `json:"connection_id"`
	Path       string `json:"path"`
}

type task struct {
	ID          string         `json:"task_id"`
	Operation   string         `json:"operation"`
	Source      file           `json:"source"`
	Destination file           `json:"destination"`
	Options     map[string]any `json:"options"`
}

type answer struct {
	ID          string `json:"task_id"`
	Status      string `json:"status"`
	Destination string `json:"destination"`
	Bytes       int64  `json:"bytes_transferred"`
	Error       struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func main() {
	orders := map[string]string{}
	for _, argument := range os.Args[1:] {
		order, source, _ := strings.Cut(argument, "=")
		orders[order] = source
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(kafka),
		kgo.ConsumerGroup(replies+"-go"),
		kgo.ConsumeTopics(replies),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// Else answers of aborted transactions are seen as well, and some of them twice.
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	// Idempotence is this client's default: its own repetitions make no second task.
	if err := client.ProduceSync(ctx, records(orders)...).FirstErr(); err != nil {
		log.Fatal("Kafka did not take all tasks: ", err)
	}
	for len(orders) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			log.Fatalf("no answer came for %v: %v", orders, err)
		}
		fetches.EachRecord(func(record *kgo.Record) { take(record, orders) })
	}
}

func records(orders map[string]string) []*kgo.Record {
	var records []*kgo.Record
	for order, source := range orders {
		task := task{
			ID:          order,
			Operation:   "download",
			Source:      file{"remote-ftp", source},
			Destination: file{"local", "/in/" + path.Base(source)},
			Options:     map[string]any{"retry_count": 5, "deadline": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)},
		}
		value, err := json.Marshal(task)
		if err != nil {
			log.Fatal(err)
		}
		records = append(records, &kgo.Record{
			Topic: tasks,
			// Tasks with one key are done in their order, if they also have one destination.
			Key:   []byte(task.Destination.Connection + ":" + task.Destination.Path),
			Value: value,
			Headers: []kgo.RecordHeader{
				{Key: "reply_to", Value: []byte(replies)},
				{Key: "traceparent", Value: fmt.Appendf(nil, "00-%s-%s-01", hex(16), hex(8))},
			},
		})
	}
	return records
}

func take(record *kgo.Record, orders map[string]string) {
	var answer answer
	if err := json.Unmarshal(record.Value, &answer); err != nil {
		log.Fatal(err)
	}
	// The topic may hold answers of earlier runs, and of others.
	if _, isMine := orders[answer.ID]; !isMine {
		return
	}
	delete(orders, answer.ID)
	if answer.Status == "completed" {
		fmt.Println(answer.ID, "completed", answer.Destination, answer.Bytes)
	} else {
		fmt.Println(answer.ID, "failed", answer.Error.Code, answer.Error.Message)
	}
}

func hex(bytes int) string {
	random := make([]byte, bytes)
	rand.Read(random) // never fails
	return fmt.Sprintf("%x", random)
}
