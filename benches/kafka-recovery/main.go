// The client of scripts/bench-kafka-recovery: loads a broker until it is killed, and waits until one answers again.
//
//	kafka-recovery load ADDRESS BYTES      prints the number of acknowledged records once BYTES of values are
//	                                       acknowledged, and goes on until it is ended
//	kafka-recovery await ADDRESS START_NS  prints the seconds from START_NS (nanoseconds since 1970) until every
//	                                       partition has a leader and a first record is fetched from each, and the
//	                                       number of records that the partitions hold
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	topic      = "recovery"
	partitions = 8
	recordSize = 1024
	// Batches as large as a broker takes by default.
	batchSizeMax = 1000000
	// Between two attempts: small beside what is measured.
	pause = 2 * time.Millisecond
	// A broker that has not answered by then never will.
	awaitMax = 10 * time.Minute
)

func main() {
	if len(os.Args) != 4 {
		fail(errors.New("usage: kafka-recovery load ADDRESS BYTES | await ADDRESS START_NS"))
	}
	number, err := strconv.ParseInt(os.Args[3], 10, 64)
	if err != nil {
		fail(err)
	}
	switch os.Args[1] {
	case "load":
		err = load(os.Args[2], number)
	case "await":
		err = await(os.Args[2], time.Unix(0, number))
	default:
		err = fmt.Errorf("unknown work %q", os.Args[1])
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "kafka-recovery:", err)
	os.Exit(2)
}

func load(address string, bytes int64) error {
	ctx := context.Background()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ProducerBatchMaxBytes(batchSizeMax),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerLinger(5*time.Millisecond),
		kgo.MaxBufferedRecords(50000))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := create(ctx, client); err != nil {
		return err
	}
	value := make([]byte, recordSize)
	if _, err := rand.Read(value); err != nil {
		return err
	}
	var acknowledged atomic.Int64
	wanted := (bytes + recordSize - 1) / recordSize
	for {
		client.Produce(ctx, &kgo.Record{Topic: topic, Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				return // The broker was killed.
			}
			if acknowledged.Add(1) == wanted {
				fmt.Println(wanted)
			}
		})
	}
}

func create(ctx context.Context, client *kgo.Client) error {
	asked := kmsg.NewCreateTopicsRequestTopic()
	asked.Topic, asked.NumPartitions, asked.ReplicationFactor = topic, partitions, 1
	request := kmsg.NewPtrCreateTopicsRequest()
	request.Topics, request.TimeoutMillis = append(request.Topics, asked), 30000
	answer, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(answer.Topics[0].ErrorCode)
}

func await(address string, start time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), awaitMax)
	defer cancel()
	for ; ; time.Sleep(pause) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		connection, err := net.Dial("tcp", address)
		if err != nil {
			continue
		}
		connection.Close()
		records, err := ask(ctx, address)
		if err != nil {
			continue
		}
		fmt.Printf("%.3f %d\n", time.Since(start).Seconds(), records)
		return nil
	}
}

// ask fetches from every partition, and returns the number of records that they hold.
func ask(ctx context.Context, address string) (int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RequestRetries(0))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	described := kmsg.NewMetadataRequestTopic()
	name := topic
	described.Topic = &name
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Topics = append(metadata.Topics, described)
	known, err := metadata.RequestWith(ctx, client)
	if err != nil {
		return 0, err
	}
	if len(known.Topics) != 1 || len(known.Topics[0].Partitions) != partitions {
		return 0, errors.New("the topic is not there")
	}
	if err := kerr.ErrorForCode(known.Topics[0].ErrorCode); err != nil {
		return 0, err
	}
	for _, partition := range known.Topics[0].Partitions {
		if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
			return 0, err
		}
	}
	var records int64
	for _, partition := range known.Topics[0].Partitions {
		held, err := fetch(ctx, client, known.Topics[0].TopicID, partition)
		if err != nil {
			return 0, err
		}
		records += held
	}
	return records, nil
}

// fetch reads a first batch of one partition, and returns the number of its records that can be read.
func fetch(ctx context.Context, client *kgo.Client, id [16]byte, known kmsg.MetadataResponseTopicPartition) (int64, error) {
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.Partition, partition.PartitionMaxBytes = known.Partition, 1024
	asked := kmsg.NewFetchRequestTopic()
	asked.Topic, asked.TopicID = topic, id
	asked.Partitions = append(asked.Partitions, partition)
	request := kmsg.NewPtrFetchRequest()
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes = 0, 1, 1024
	request.Topics = append(request.Topics, asked)
	response, err := client.Broker(int(known.Leader)).Request(ctx, request)
	if err != nil {
		return 0, err
	}
	answer, ok := response.(*kmsg.FetchResponse)
	if !ok || len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		return 0, errors.New("the partition was not answered")
	}
	found := answer.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(found.ErrorCode); err != nil {
		return 0, err
	}
	if len(found.RecordBatches) == 0 {
		return 0, errors.New("no record was answered")
	}
	return found.HighWatermark, nil
}
